"""The Gantt chart as one HTML file: both views, zoom, details under the pointer, no network."""

from __future__ import annotations

import json
from html import escape

from ground.scheduling.export.gantt import (
    AXIS,
    CHARACTER_PX,
    GUTTER,
    MARGIN,
    TOP,
    chart,
    svg,
)
from ground.scheduling.export.publication import Publication
from protocols.timecodes.tai import unix_ns_from_tai_ns

_STYLE = """
html, body { margin: 0; background: #12161c; color: #d5dbe3;
  font: 14px "DejaVu Sans", Verdana, sans-serif; }
/* As wide as the chart: what is sticky stays within its parent. */
body { width: max-content; min-width: 100%; }
header { position: sticky; left: 0; top: 0; z-index: 2; background: #1a2029; padding: 8px 12px;
  display: flex; gap: 10px; align-items: center; flex-wrap: wrap; width: 100vw;
  box-sizing: border-box; }
button, input { font: inherit; color: inherit; background: #2b3440; border: 1px solid #55626f;
  border-radius: 4px; padding: 4px 12px; }
button[aria-pressed="true"] { background: #d5dbe3; color: #12161c; }
button:focus-visible, input:focus-visible { outline: 2px solid #ffd166; }
.view { display: none; } .view.shown { display: block; }
#card { position: fixed; display: none; z-index: 3; background: #f4f6f8; color: #12161c;
  padding: 8px 12px; border-radius: 4px; white-space: pre; pointer-events: none;
  box-shadow: 0 2px 12px #000; line-height: 1.45; }
.dimmed { opacity: 0.15; }
#count { min-width: 6em; }
#now { color: #ffd166; margin-left: auto; }
.nowline { stroke: #ffd166; stroke-width: 2; pointer-events: none; }
@media print { header { display: none; } .view { display: block; } }
"""

_SCRIPT = """
const card = document.getElementById("card"), find = document.getElementById("find");
const views = [...document.querySelectorAll(".view")];
const buttons = [...document.querySelectorAll("button[data-view]")];
let zoom = 1;
function show(name) {
  views.forEach(v => v.classList.toggle("shown", v.id === name));
  buttons.forEach(b => b.setAttribute("aria-pressed", b.dataset.view === name));
  mark(); follow();
}
// Zoom stretches time alone: places along it are kept as drawn, and multiplied.
const X = ["x", "x1", "x2"];
const drawn = [...document.querySelectorAll(
  ".bar rect, .bar text, .line, .midnight, .axis text")].map(e => ({
    e, at: X.filter(a => e.hasAttribute(a)).map(a => [a, +e.getAttribute(a)]),
    wide: e.tagName === "rect" ? +e.getAttribute("width") : null}));
const across = [...document.querySelectorAll("svg > rect, .axis > rect")];
const place = x => CHART.left + (x - CHART.left) * zoom;
function label(bar) {
  const box = bar.querySelector(".on, .busy"), text = bar.querySelector("text");
  const wide = +box.getAttribute("width"), whole = bar.dataset.label;
  if (text) {
    text.dataset.short = text.dataset.short ?? text.textContent;
    const fits = whole.length * CHART.character + 4 <= wide;
    text.textContent = fits ? whole : text.dataset.short;
    text.style.display = text.textContent.length * CHART.character + 4 <= wide + 1 ? "" : "none";
  } else if (whole.length * CHART.character + 4 <= wide) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "text");
    made.setAttribute("class", box.classList.contains("on") ? "label" : "busylabel");
    made.setAttribute("text-anchor", "middle");
    made.setAttribute("y", +box.getAttribute("y") + 14);
    made.textContent = whole; made.dataset.short = whole;
    const x = +box.getAttribute("x") + wide / 2;
    made.setAttribute("x", x);
    bar.appendChild(made);
    drawn.push({e: made, at: [["x", CHART.left + (x - CHART.left) / zoom]], wide: null});
  }
}
function follow() {
  const down = Math.max(0, scrollY - (CHART.top - CHART.axis));
  document.querySelectorAll(".view.shown svg").forEach(s => {
    s.querySelector(".names").setAttribute("transform", `translate(${scrollX} 0)`);
    s.querySelector(".axis").setAttribute("transform", `translate(0 ${down})`);
    // Hours that would stand above the names are out of the plot.
    s.querySelectorAll(".axis text").forEach(t => {
      t.style.visibility =
        +t.getAttribute("x") < scrollX + CHART.left - 1 ? "hidden" : "visible";
    });
  });
}
addEventListener("scroll", follow);
addEventListener("resize", follow);
function scale(factor) {
  // Out until the whole horizon is in the window, in to 16; the instant in the middle stays there.
  const seen = document.documentElement.clientWidth;
  const fit = Math.min(1, (seen - 8 - CHART.left - CHART.right) / CHART.plot);
  const middle = (scrollX + (seen + CHART.left) / 2 - CHART.left) / zoom;
  zoom = Math.min(16, Math.max(fit, zoom * factor));
  const width = CHART.left + CHART.plot * zoom + CHART.right;
  document.querySelectorAll(".view svg").forEach(s => {
    s.setAttribute("width", width);
    s.setAttribute("viewBox", `0 0 ${width} ${s.viewBox.baseVal.height}`);
    s.querySelectorAll(".group").forEach(l => l.setAttribute("x2", width - CHART.right));
  });
  across.forEach(e => e.setAttribute("width", width));
  drawn.forEach(d => {
    d.at.forEach(([name, x]) => d.e.setAttribute(name, place(x)));
    if (d.wide !== null) d.e.setAttribute("width", d.wide * zoom);
  });
  document.querySelectorAll(".bar").forEach(label);
  now();
  scrollTo(CHART.left + middle * zoom - (seen + CHART.left) / 2, scrollY);
  follow();
}
function mark() {
  const wanted = find.value.trim().toLowerCase();
  let found = 0, all = 0;
  document.querySelectorAll(".bar").forEach(b => {
    const hit = b.querySelector("desc").textContent.toLowerCase().includes(wanted);
    b.classList.toggle("dimmed", !hit);
    if (b.closest(".view.shown")) { all++; found += hit; }
  });
  document.getElementById("count").textContent = wanted ? `${found} of ${all}` : "";
}
buttons.forEach(b => b.onclick = () => show(b.dataset.view));
document.getElementById("in").onclick = () => scale(1.5);
document.getElementById("out").onclick = () => scale(1 / 1.5);
find.oninput = mark;
// The browser's own tooltip is slow and small: its text moves to the card.
document.querySelectorAll(".bar title").forEach(t => {
  const desc = document.createElementNS("http://www.w3.org/2000/svg", "desc");
  desc.textContent = t.textContent;
  t.replaceWith(desc);
});
document.addEventListener("pointermove", e => {
  const bar = e.target.closest ? e.target.closest(".bar") : null;
  card.style.display = bar ? "block" : "none";
  if (!bar) return;
  card.textContent = bar.querySelector("desc").textContent;
  const r = card.getBoundingClientRect();
  card.style.left = Math.min(e.clientX + 14, innerWidth - r.width - 8) + "px";
  card.style.top = Math.min(e.clientY + 14, innerHeight - r.height - 8) + "px";
});
function now() {
  const t = Date.now(), inside = t >= CHART.start && t < CHART.end;
  document.getElementById("now").textContent =
    "now " + new Date(t).toISOString().slice(0, 16).replace("T", " ") + " UTC" +
    (inside ? "" : " (outside this schedule)");
  document.querySelectorAll(".nowline").forEach(l => l.remove());
  if (!inside) return;
  const x = CHART.left + (t - CHART.start) / (CHART.end - CHART.start) * CHART.plot * zoom;
  document.querySelectorAll(".view svg").forEach(s => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "nowline");
    line.setAttribute("x1", x); line.setAttribute("x2", x);
    line.setAttribute("y1", CHART.top); line.setAttribute("y2", s.viewBox.baseVal.height);
    s.insertBefore(line, s.querySelector(".names"));
  });
}
show("antenna"); scale(1); setInterval(now, 30000);
"""


def build(publication: Publication, *, width: int = 1800) -> bytes:
    """UTF-8 HTML that needs nothing beside itself; `width` of the charts before zooming, px."""
    by_antenna = chart(publication, "antenna")
    constants = {
        "left": GUTTER,
        "plot": width - GUTTER - MARGIN,
        "right": MARGIN,
        "top": TOP,
        "axis": AXIS,
        "character": CHARACTER_PX,
        "start": unix_ns_from_tai_ns(by_antenna.start_ns) // 10**6,
        "end": unix_ns_from_tai_ns(by_antenna.end_ns) // 10**6,
    }
    views = "\n".join(
        f'<div class="view{" shown" if view == "antenna" else ""}" id="{view}">\n'
        f"{svg(chart(publication, view), width=width)}\n</div>"
        for view in ("antenna", "mission")
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(by_antenna.title)}</title>
<style>{_STYLE}</style></head><body>
<header>
<button data-view="antenna" aria-pressed="true">by antenna</button>
<button data-view="mission" aria-pressed="false">by mission</button>
<button id="out" title="smaller">−</button><button id="in" title="larger">+</button>
<input id="find" placeholder="mission, request or antenna" aria-label="highlight">
<span id="count" role="status"></span>
<span id="now"></span>
</header>
{views}
<div id="card" role="tooltip"></div>
<script>const CHART = {json.dumps(constants)};{_SCRIPT}</script>
</body></html>
""".encode()
