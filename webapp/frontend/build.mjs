// Builds webapp/static/build/ from the npm lock: one style sheet, two scripts, the fonts they use,
// each named by a hash of its content, and manifest.json from plain name to hashed name.
import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const frontend = dirname(fileURLToPath(import.meta.url));
const root = join(frontend, "..", "..");
const target = join(root, "webapp", "static", "build");
const work = join(root, "webapp", "static", "build.next");

function compileStyles(output) {
  const cli = join(root, "node_modules", "@tailwindcss", "cli", "dist", "index.mjs");
  const run = spawnSync(process.execPath, [cli, "-i", join(frontend, "app.css"), "-o", output], {
    cwd: root,
    encoding: "utf8",
  });
  if (run.status !== 0) {
    throw new Error(run.stderr || String(run.error));
  }
}

function manifestOf(metafile) {
  const names = Object.keys(metafile.outputs)
    .map((path) => basename(path))
    .filter((name) => !name.endsWith(".map"));
  return Object.fromEntries(names.map((name) => [name.replace(/-[A-Z0-9]{8}\./, "."), name]));
}

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const styles = join(work, "app.css");
compileStyles(styles);
const result = await build({
  entryPoints: [styles, join(frontend, "app.js"), join(frontend, "theme.js")],
  outdir: work,
  bundle: true,
  minify: true,
  metafile: true,
  target: ["es2022"],
  legalComments: "linked",
  loader: { ".woff2": "file" },
  nodePaths: [join(root, "node_modules")],
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  logLevel: "warning",
});
rmSync(styles);
writeFileSync(join(work, "manifest.json"), `${JSON.stringify(manifestOf(result.metafile), null, 2)}\n`);
// A page served during the build finds the old files or the new ones, never half of them.
rmSync(target, { recursive: true, force: true });
renameSync(work, target);
const sizes = Object.entries(result.metafile.outputs).map(
  ([path, output]) => `${basename(path)} ${(output.bytes / 1024).toFixed(0)} KiB`,
);
process.stdout.write(`${sizes.join("\n")}\n`);
