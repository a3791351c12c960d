#ifndef LOWBIT_SENSITIVITY_HTML_STYLE_H_
#define LOWBIT_SENSITIVITY_HTML_STYLE_H_

namespace lowbit {

// What the page's head and end hold besides data. Neither has a "<" or an "&", so that the page stays well-formed.
constexpr char kSensitivityStyle[] = R"(
:root { color-scheme: light dark; --paper: #ffffff; --card: #f7f8fa; --ink: #1c2128; --quiet: #656d78; --rule: #dfe3e8;
  --weight: #2d6cdf; --activation: #d9731a; --both: #c6ccd5; --beyond: #e0483d; --level: #1c2128; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --card: #1d2127; --ink: #e4e7eb; --quiet: #98a1ad; --rule: #343a43;
    --weight: #6ea0ff; --activation: #f39b4f; --both: #4a525e; --beyond: #ff6a5e; --level: #e4e7eb; } }
body { margin: 0 auto; padding: 28px 32px 60px; max-width: 1240px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 6px; }
p { margin: 4px 0 12px; max-width: 78ch; } .quiet { color: var(--quiet); }
code { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.worst { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; padding: 0; list-style: none; }
.worst li { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 16px; }
.worst b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } svg { display: block; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg text.name { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; text-anchor: end; }
svg text.head { font-size: 14px; font-weight: 600; } svg text.tick { font-size: 10.5px; fill: var(--quiet); }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
.rule { stroke: var(--rule); } .axis { stroke: var(--quiet); } .hit { fill: transparent; }
g:hover .hit { fill: var(--rule); fill-opacity: 0.6; }
.both { fill: var(--both); } .weight { fill: var(--weight); } .activation { fill: var(--activation); }
.beyond { fill: var(--beyond); fill-opacity: 0.16; }
.level { stroke: var(--level); stroke-opacity: 0.6; stroke-width: 0.9; fill: none; }
.key { display: flex; flex-wrap: wrap; gap: 18px; margin: 0 0 10px; color: var(--quiet); font-size: 13px; }
.key i { display: inline-block; width: 14px; height: 10px; margin-right: 6px; border-radius: 2px; }
.key .weight { background: var(--weight); } .key .activation { background: var(--activation); }
.key .both { background: var(--both); } .key .beyond { background: var(--beyond); opacity: 0.35; }
.key .line { width: 1px; height: 13px; background: var(--level); vertical-align: -2px; }
.choose { position: absolute; opacity: 0; }
.choose + label { display: inline-block; padding: 3px 14px; margin: 2px 4px 12px 0; border: 1px solid var(--rule);
  border-radius: 999px; cursor: pointer; background: var(--card); }
.choose:checked + label { background: var(--weight); border-color: var(--weight); color: var(--paper); font-weight: 600; }
.choose:focus-visible + label { outline: 2px solid var(--activation); }
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; }
.card h3 { font: 600 13.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0 0 2px;
  overflow-wrap: anywhere; }
.card p { font-size: 12px; margin: 6px 0 3px; color: var(--quiet); } .at { display: none; }
.card svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { position: sticky; top: 0; background: var(--card); cursor: pointer; font-weight: 600; vertical-align: bottom; }
th[aria-sort=ascending]::after { content: " \2191"; } th[aria-sort=descending]::after { content: " \2193"; }
th:first-child, td:first-child { text-align: left; font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
tbody tr:hover { background: var(--card); }
@media print { .at { display: block; } }
)";

// A click on a head sorts by that column: numbers from the largest down, a second click the other way around.
constexpr char kSensitivityScript[] = R"(
document.querySelectorAll("table.sortable th").forEach((head, column) => {
  head.tabIndex = 0;
  const sort = () => {
    const body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") === "descending";
    head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const order = (a, b) => (column === 0 ? value(b).localeCompare(value(a)) : Number(value(a)) - Number(value(b)));
    [...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))).forEach((row) => body.append(row));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
});
)";

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_HTML_STYLE_H_
