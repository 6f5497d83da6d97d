//! The page's style sheet.

/// Light and dark by what the reader's system asks for; the colours are those of Weir's web app.
pub(super) const STYLE: &str = "
:root {
  color-scheme: light dark;
  --bg: #f4f7f9; --surface: #ffffff; --line: #dbe3e9; --text: #14212b; --muted: #5a6b78; --grid: #e8eef2;
  --a: #0e8f7e; --b: #d0722b; --c: #6a5acd;
  --good: #12805c; --fair: #9a6700; --poor: #c4342b;
  --good-bg: #e2f4ec; --fair-bg: #fdf2d6; --poor-bg: #fde8e6;
  font-family: Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif;
  font-size: 15px; line-height: 1.5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #0b1117; --surface: #121b23; --line: #263441; --text: #e9f0f4; --muted: #94a6b4; --grid: #1d2933;
    --a: #5fd6c4; --b: #f2a35e; --c: #a89bff;
    --good: #58d3a0; --fair: #f4c15d; --poor: #ff7a70;
    --good-bg: #10352b; --fair-bg: #3a2f12; --poor-bg: #3f1d1b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--text); }
main { max-width: 1160px; margin: 0 auto; padding: 36px 28px 60px; }
h1, h2, p, figure, dl, dd { margin: 0; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 14px; }
h1 { font-size: 26px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 40px 0 12px; }
.headline { font-size: 17px; margin-top: 6px; }
.muted, figcaption span, .help { color: var(--muted); }
.word { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 13px; font-weight: 600; white-space: nowrap; }
.word.good { color: var(--good); background: var(--good-bg); }
.word.fair { color: var(--fair); background: var(--fair-bg); }
.word.poor { color: var(--poor); background: var(--poor-bg); }
.problems { list-style: none; margin: 20px 0 0; padding: 0; display: grid; gap: 8px; }
.problems li { background: var(--fair-bg); border-left: 4px solid var(--fair); border-radius: 8px; padding: 10px 14px; overflow-wrap: anywhere; }
.problems li.serious { background: var(--poor-bg); border-color: var(--poor); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin-top: 24px; }
.tile, figure, .card { background: var(--surface); border: 1px solid var(--line); border-radius: 12px; }
.tile { padding: 13px 14px; }
.tile .label { color: var(--muted); font-size: 14px; }
.tile .value { font-size: 25px; font-weight: 650; letter-spacing: -0.01em; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile .foot { display: flex; justify-content: space-between; align-items: center; gap: 6px; margin-top: 4px; font-size: 12.5px; color: var(--muted); white-space: nowrap; }
.tile .word { font-size: 12px; padding: 0 8px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 14px; }
figure { padding: 14px 14px 8px; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 10px; align-items: baseline; padding: 0 4px 6px; font-size: 14px; }
figcaption .legend { display: flex; gap: 14px; margin-left: auto; }
.legend i { display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 6px; vertical-align: middle; }
.legend i.a { background: var(--a); } .legend i.b { background: var(--b); } .legend i.c { background: var(--c); }
svg { display: block; width: 100%; height: auto; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--line); }
svg text { font-size: 11px; fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .label { fill: var(--text); font-weight: 600; paint-order: stroke; stroke: var(--surface); stroke-width: 3px; }
svg .mark { stroke: var(--text); stroke-dasharray: 3 3; opacity: 0.55; }
svg .bar { fill: var(--a); } svg .bar.b { fill: var(--b); } svg .bar.c { fill: var(--poor); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg .line.a { stroke: var(--a); } svg .line.b { stroke: var(--b); } svg .line.c { stroke: var(--c); }
.card { overflow-x: auto; padding: 4px 18px 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 13px; padding: 10px 12px 6px 0; white-space: nowrap; }
tr.group th { color: var(--text); font-size: 15px; padding-top: 18px; }
td { border-top: 1px solid var(--line); padding: 8px 12px 8px 0; vertical-align: top; }
td:first-child { width: 36%; }
td.value { font-weight: 600; white-space: nowrap; } td.spread { white-space: nowrap; } td:last-child { text-align: right; padding-right: 0; }
.help { font-size: 13px; max-width: 62ch; }
pre { margin: 10px 0; overflow-x: auto; font: 13px/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, 'Liberation Mono', monospace; }
summary { cursor: pointer; padding: 8px 0; font-weight: 600; }
footer { margin-top: 34px; font-size: 13px; color: var(--muted); }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; } figure, .tile { break-inside: avoid; } }
";
