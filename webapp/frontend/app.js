import "htmx.org";
import "htmx.org/dist/ext/hx-csp.js";

const htmx = window.htmx;

// A tab nobody looks at asks nothing; it catches up as soon as it is seen again.
document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden && event.detail.ctx?.request?.method === "GET") {
    event.preventDefault();
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    for (const part of document.querySelectorAll("[data-live]")) {
      htmx.trigger(part, "refresh");
    }
  }
});

// Says when what is on the page is no longer being refreshed, and stops saying so by itself.
function showLive(isLive) {
  const notice = document.getElementById("not-live");
  if (notice) {
    notice.hidden = isLive;
  }
}
document.addEventListener("htmx:error", () => showLive(false));
document.addEventListener("htmx:response:error", () => showLive(false));
document.addEventListener("htmx:after:swap", () => showLive(true));

// Light, dark, or what the system says.
const THEMES = ["system", "light", "dark"];
const button = document.getElementById("theme-toggle");
function showTheme(theme) {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
  button.dataset.choice = theme;
  button.setAttribute("aria-label", `Theme: ${theme}. Change`);
  button.title = `Theme: ${theme}`;
}
if (button) {
  button.hidden = false;
  showTheme(localStorage.getItem("theme") ?? "system");
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(button.dataset.choice) + 1) % THEMES.length];
    localStorage.setItem("theme", next);
    showTheme(next);
  });
}
