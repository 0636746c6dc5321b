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

// Says while some part of the page fails to refresh, and stops saying so by itself.
const broken = new Set();
document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
  const part = ctx.sourceElement?.id;
  const notice = document.getElementById("not-live");
  if (!part || !notice) {
    return;
  }
  if (ctx.status.startsWith("error") || ctx.response?.status >= 400) {
    broken.add(part);
  } else if (ctx.response) {
    broken.delete(part);
  }
  notice.hidden = broken.size === 0;
});

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
