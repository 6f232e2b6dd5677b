// The style of every page: colours as variables, light unless a screen asks for dark, light always on paper. Hues of
// series are Okabe and Ito's, which people who confuse red and green tell apart (jfly.uni-koeln.de/color).
#pragma once

namespace steelyard::report {

inline constexpr char kStyle[] = R"css(:root {
  --paper: #ffffff; --ink: #1d2329; --soft: #59636e; --line: #d5dae0; --faint: #eef1f4; --grid: #e2e6ea; --panel: #f7f8fa;
  --a: #0072b2; --b: #d55e00; --c: #009e73; --d: #8e5a9b; --a-soft: #9cc8e3; --mark: #e6f1f8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --ink: #e6eaee; --soft: #9aa5b1; --line: #39424b; --faint: #262d34; --grid: #2c343c; --panel: #1b2026;
    --a: #56b4e9; --b: #f0813a; --c: #2fc99b; --d: #cc79a7; --a-soft: #2b5f7d; --mark: #1c3242;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 64px; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 20px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; line-height: 1.25; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 18px 0 4px; }
section { margin-top: 38px; }
p { margin: 0 0 10px; max-width: 76ch; }
.sub, .about, .note { color: var(--soft); overflow-wrap: anywhere; }
.note { font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 10px; margin: 0 0 18px; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; }
.tile span { display: block; }
.label, .below { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.value { font-size: 21px; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: 8px 0 12px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--soft); vertical-align: bottom; white-space: nowrap; }
th, td { padding: 4px 14px 4px 0; }
td { border-bottom: 1px solid var(--faint); vertical-align: top; white-space: nowrap; }
td small { color: var(--soft); }
th.n, td.n { text-align: right; }
tr.marked td { background: var(--mark); font-weight: 600; }
tr.marked td:first-child { box-shadow: -6px 0 0 var(--mark); }
code, .token { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px; }
td .context { display: inline-block; min-width: 250px; max-width: 380px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--soft); }
.token { background: var(--faint); border-radius: 3px; padding: 1px 4px; color: var(--ink); }
.context .token { background: var(--mark); font-weight: 600; }
figure { margin: 10px 0 6px; overflow-x: auto; }
figure svg { display: block; height: auto; }
figcaption { font-size: 14px; font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 6px 48px; }
.pair figure { min-width: 0; max-width: 100%; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11.5px; }
svg .axis-name { fill: var(--soft); }
svg .small { font-size: 10.5px; }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--soft); }
svg .leader { stroke: var(--soft); stroke-width: 0.75; }
svg .empty { fill: none; stroke: var(--line); stroke-width: 0.75; }
svg .unknown { fill: var(--line); }
svg .limit { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .fa { fill: var(--a); } svg .fb { fill: var(--b); } svg .fc { fill: var(--c); } svg .fd { fill: var(--d); }
svg .fa-soft { fill: var(--a-soft); }
svg .sa { stroke: var(--a); } svg .sb { stroke: var(--b); } svg .sc { stroke: var(--c); } svg .sd { stroke: var(--d); }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.75; }
svg .whisker { stroke-width: 1.25; }
@media (max-width: 620px) { main { padding: 18px 12px 40px; } h1 { font-size: 21px; } section { margin-top: 30px; }
  .exact { display: none; } }
@page { margin: 14mm; }
@media print {
  body { font-size: 10.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  section { margin-top: 18pt; }
  h2, h3, .about { break-after: avoid; }
  section, figure, .tiles, tr { break-inside: avoid; }
  .pair { display: block; }
  thead { display: table-header-group; }
  .wide, figure { overflow: visible; }
  figure svg { max-width: 100% !important; min-width: 0 !important; }
  table { font-size: 8.5pt; }
  th, td { padding: 2pt 8pt 2pt 0; }
  td .context { min-width: 150pt; max-width: 210pt; }
  code, .token { font-size: 8pt; }
}
)css";

}  // namespace steelyard::report
