// How the overlay looks. A constructed style sheet: policies that forbid inline styles do not mind it.
export const STYLE = `
:host { all: initial; position: fixed; inset: 0; z-index: 2147483647; pointer-events: none; color-scheme: light dark;
  --card: light-dark(#fff, #1c2027); --ink: light-dark(#1b2230, #e7eaf0); --soft: light-dark(#566074, #a3adbf); --line: light-dark(#d9dee7, #3a4250);
  --accent: light-dark(#2b50c8, #9db4ff); --on: light-dark(#fff, #10142a); --good: #17803f; --bad: #c2281f; --warn: #a86a00;
  --good-ink: light-dark(#17703a, #6cd394); --bad-ink: light-dark(#b3261e, #ff9d94); --warn-ink: light-dark(#7a5200, #f0c674); --fill: light-dark(#f2f4f8, #262c36); }
* { box-sizing: border-box; }
.shield { position: fixed; inset: 0; pointer-events: auto; cursor: crosshair; }
.shield[hidden], [hidden] { display: none !important; }
.box { position: fixed; left: 0; top: 0; border: 2px solid var(--good); border-radius: 4px; box-shadow: 0 0 0 1px #fff9; }
.box.off { border: 2px dashed var(--bad); background: repeating-linear-gradient(135deg, #c2281f26 0 6px, transparent 6px 12px); }
.box.out { border: 2px dashed #77808f; background: repeating-linear-gradient(135deg, #77808f26 0 6px, transparent 6px 12px); }
.box.draft { border-color: var(--warn); }
.box.wait { border-color: #8a94a6; border-style: dotted; }
.box.over { background-color: #2b50c833; outline: 2px solid #2b50c8; }
.box.chosen { outline: 3px solid #2b50c8; outline-offset: 1px; }
.tip { position: fixed; left: 0; top: 0; max-width: 20rem; background: #1b2230; color: #fff; font: 600 13px/1.35 system-ui, sans-serif; padding: 4px 8px; border-radius: 6px; box-shadow: 0 2px 8px #0006; overflow-wrap: anywhere; }
.tip small { display: block; font-weight: 400; font-size: 12px; color: #d5dbe6; }
.panel { position: fixed; right: 12px; bottom: 12px; width: 22rem; max-width: calc(100vw - 24px); max-height: min(40rem, calc(100vh - 24px)); display: flex; flex-direction: column; pointer-events: auto;
  background: var(--card); color: var(--ink); border: 1px solid var(--line); border-radius: 12px; box-shadow: 0 8px 32px #0005; font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.panel.left { right: auto; left: 12px; }
header { display: flex; align-items: center; gap: 6px; padding: 8px 8px 8px 14px; border-bottom: 1px solid var(--line); }
header strong { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.main { padding: 12px 14px; overflow: auto; }
footer { padding: 8px 14px; border-top: 1px solid var(--line); color: var(--soft); font-size: 13px; }
p { margin: 0 0 8px; } p:last-child { margin: 0; }
h2 { font-size: 16px; line-height: 1.3; margin: 0 0 2px; overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 14px 0 4px; color: var(--soft); font-weight: 600; }
.soft { color: var(--soft); font-size: 13px; }
button { font: inherit; font-weight: 600; min-height: 34px; padding: 4px 12px; border-radius: 8px; border: 1px solid var(--accent); background: var(--accent); color: var(--on); cursor: pointer; }
button.quiet { background: transparent; color: var(--accent); border-color: var(--line); }
button.icon { padding: 4px 9px; min-width: 34px; }
button:disabled { opacity: .55; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
h2:focus-visible, strong:focus-visible { outline: none; }
.row + p { margin-top: 8px; }
.pair { display: flex; gap: 0; margin: 0 0 10px; }
.pair button { flex: 1; border-radius: 0; background: transparent; color: var(--ink); border-color: light-dark(#7d8799, #7b8598); font-weight: 400; }
.pair button:first-child { border-radius: 8px 0 0 8px; } .pair button:last-child { border-radius: 0 8px 8px 0; border-left: 0; }
.pair button[aria-pressed=true] { background: var(--accent); color: var(--on); border-color: var(--accent); font-weight: 600; }
.row { display: flex; gap: 8px; align-items: stretch; }
label { display: block; font-weight: 600; font-size: 13px; margin: 12px 0 4px; }
input { font: inherit; flex: 1; min-width: 0; width: 100%; min-height: 36px; padding: 4px 10px; color: inherit; background: var(--card); border: 1px solid light-dark(#7d8799, #7b8598); border-radius: 8px; }
input[aria-invalid=true] { border: 2px solid var(--bad-ink); }
.wrong { color: var(--bad-ink); font-weight: 600; font-size: 13px; margin: 4px 0 0; }
.badge { display: inline-block; padding: 0 8px; border-radius: 99px; background: var(--fill); color: var(--soft); font-size: 12px; font-weight: 600; white-space: nowrap; }
.badge.good { color: var(--good-ink); } .badge.bad { color: var(--bad-ink); } .badge.warn { color: var(--warn-ink); }
.said { background: var(--fill); border-left: 4px solid var(--accent); border-radius: 6px; padding: 6px 10px; margin: 0 0 10px; overflow-wrap: anywhere; }
.said.bad { border-color: var(--bad-ink); }
.said:empty { display: none; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: 3px 8px 3px 0; border-top: 1px solid var(--line); font-weight: 400; overflow-wrap: anywhere; font-size: 13px; } th { color: var(--soft); width: 42%; }
tr:first-child > * { border-top: 0; }
code { font: 12px/1.4 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.1em; font-size: 13px; }
.legend { list-style: none; padding: 0; margin: 10px 0; display: grid; gap: 6px; }
.legend span { display: inline-block; width: 22px; height: 14px; margin-right: 8px; vertical-align: -2px; position: static; }
@media (max-width: 480px) { .panel, .panel.left { left: 8px; right: 8px; bottom: 8px; width: auto; max-width: none; max-height: 55vh; } .side { display: none; } }
`;
