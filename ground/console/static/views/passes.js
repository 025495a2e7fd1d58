// The antennas' passes of this mission on two time axes, the ground's and the spacecraft's; planning one.
import { clock, day, html, may, minute, span, until, useState } from "../lib.js";
import { now, passes } from "../live.js";
import { PlanPass, idea } from "./plan.js";

const W = 1100, ROW = 34, LEFT = 150;

function Gantt({ hours, choose }) {
  const t = now.value, all = (passes.value?.passes ?? []).filter((p) => p.mission === "L4 relay"), i = idea.value;
  const from = t - 2 * 3600e3, to = from + hours * 3600e3;
  const x = (ms) => LEFT + ((W - LEFT) * (Math.min(Math.max(ms, from), to) - from)) / (to - from);
  const wide = (a, b) => Math.max(0, x(b) - x(a));
  const seen = all.filter((p) => p.los > from && p.aos < to), places = [...new Set(seen.map((p) => p.place))];
  const place = i && (places.find((p) => p.split(" ")[0] === i.antenna || p.toUpperCase() === i.antenna) ?? i.antenna);
  if (i && !places.includes(place)) places.push(place);
  const light = (seen.find((p) => p.owlt_s > 0)?.owlt_s ?? 499) * 1000;
  const step = [3600e3, 2 * 3600e3, 6 * 3600e3, 12 * 3600e3, 24 * 3600e3].find((s) => (to - from) / s <= 14);
  const ticks = []; for (let k = Math.ceil(from / step) * step; k < to; k += step) ticks.push(k);
  const height = 40 + places.length * ROW + 34;
  const overlap = (p) => seen.some((q) => q !== p && q.place === p.place && q.aos < p.los && p.aos < q.los);
  return html`<section class="panel"><svg viewBox=${`0 0 ${W} ${height}`} role="group" aria-label="Passes by antenna" style="width:100%">
      ${ticks.map((k) => html`<g><line class="axis" x1=${x(k)} x2=${x(k)} y1="16" y2=${height - 34} /><text x=${x(k) + 2} y="12">${clock(k).slice(0, 5)}</text>
        <text x=${x(k) + 2} y=${height - 18} style="opacity:.8">${clock(k + light).slice(0, 8)}</text>${new Date(k).getUTCHours() === 0 && html`<text x=${x(k) + 2} y="26" style="font-weight:600">${day(k).slice(5)}</text>`}</g>`)}
      <text x="0" y="12">ground UTC</text><text x="0" y=${height - 18} style="opacity:.8">sent then, arrives</text>
      ${places.map((one, k) => html`<g><text x="0" y=${54 + k * ROW}>${one}</text>
        ${one === place && i.views.map((v) => html`<rect x=${x(v.aos_ms)} width=${wide(v.aos_ms, v.los_ms)} y=${36 + k * ROW} height="26" fill="none" stroke="var(--dim)" stroke-dasharray="2 3"><title>in view</title></rect>`)}
        ${seen.filter((p) => p.place === one).map((p) => html`<g tabindex="0" role="button" aria-label=${`${one} ${clock(p.aos)} to ${clock(p.los)}${overlap(p) ? ", overlaps another" : ""}`} onClick=${() => choose(p)} onKeyDown=${(e) => e.key === "Enter" && choose(p)} style="cursor:pointer">
          <rect x=${x(p.aos)} width=${Math.max(1, wide(p.aos, p.los))} y=${38 + k * ROW} height="22" rx="3" fill="var(--ok)" fill-opacity=".35" stroke=${overlap(p) ? "var(--bad)" : "var(--ok)"} />
          ${overlap(p) && html`<text x=${x(p.aos) + 3} y=${50 + k * ROW}>overlaps</text>`}
          <rect x=${x(p.uplink_from)} width=${wide(p.uplink_from, p.uplink_to)} y=${50 + k * ROW} height="9" fill="var(--warn)" fill-opacity=".8" /></g>`)}
        ${one === place && i.held.map((c) => html`<rect x=${x(c.from_ms)} width=${wide(c.from_ms, c.to_ms)} y=${38 + k * ROW} height="22" rx="3" fill="var(--bad)" fill-opacity=".45" stroke="var(--bad)"><title>${`${c.who || c.kind} ${minute(c.from_ms)} to ${minute(c.to_ms)}`}</title></rect>`)}
        ${one === place && i.end > i.begin && html`<g><rect x=${x(i.begin)} width=${Math.max(2, wide(i.begin, i.end))} y=${34 + k * ROW} height="30" rx="3" fill="var(--accent)" fill-opacity=".25" stroke="var(--accent)" stroke-width="2" stroke-dasharray="6 3" />
          <text x=${x(i.begin) + 4} y=${48 + k * ROW} style="font-weight:600">what if</text></g>`}</g>`)}
      <line x1=${x(t)} x2=${x(t)} y1="16" y2=${height - 34} stroke="var(--bad)" stroke-width="2" /><text x=${x(t) + 3} y=${height - 38} style="fill:var(--bad)">now</text>
      <line x1=${x(t - light)} x2=${x(t - light)} y1="16" y2=${height - 34} stroke="var(--accent)" stroke-dasharray="4 3" /><text x=${x(t - light) - 50} y=${height - 38} style="fill:var(--accent)">seen now</text></svg></section>`;
}

export function Passes({ rest }) {
  const [hours, setHours] = useState(24), [chosen, choose] = useState(null);
  const t = now.value, all = (passes.value?.passes ?? []).filter((p) => p.mission === "L4 relay");
  if (!passes.value) return html`<p>No passes are published: the link is always up, or scheduling has not spoken yet.</p>`;
  const planning = rest[0] === "plan" && may("operator");
  const light = (all.find((p) => p.los > t && p.owlt_s > 0)?.owlt_s ?? 499) * 1000;
  return html`<div class="row"><span role="group" aria-label="Span">${[12, 24, 48, 96, 168].map((n) => html`<button class=${n === hours ? "primary" : ""} aria-pressed=${n === hours} onClick=${() => setHours(n)}>${n} h</button>`)}</span>
      ${may("operator") && html`<button aria-expanded=${planning} onClick=${() => (location.hash = planning ? "passes" : "passes/plan")}>${planning ? "End planning" : "Plan a pass…"}</button>`}
      <span><span class="tag nominal">downlink</span> <span class="tag warning">uplink window</span> ${planning && html`<span class="tag critical">held by others</span> `}<span class="dim">second axis: spacecraft time, ${span(light)} after the ground's for what is sent</span></span></div>
    <${Gantt} hours=${hours} choose=${choose} />
    ${planning && html`<${PlanPass} antenna=${rest[1] ? decodeURIComponent(rest[1]) : ""} />`}
    ${chosen && html`<section class="panel" aria-label="Pass"><h2>${chosen.place} <span class="dim">${chosen.id}</span></h2><table><tbody>
      <tr><td>downlink received</td><td class="num">${clock(chosen.aos)} to ${clock(chosen.los)}</td><td>${until(chosen.aos, t)}</td></tr>
      <tr><td>uplink window</td><td class="num">${clock(chosen.uplink_from)} to ${clock(chosen.uplink_to)}</td><td>${until(chosen.uplink_from, t)}</td></tr>
      <tr><td>heard by the spacecraft</td><td class="num">${clock(chosen.arrives_from)} to ${clock(chosen.arrives_to)}</td><td></td></tr>
      <tr><td>one-way light time</td><td class="num">${chosen.owlt_s.toFixed(3)} s</td><td></td></tr></tbody></table></section>`}
    <section class="panel"><h2>Next</h2><table><thead><tr><th>antenna</th><th>AOS</th><th>LOS</th><th>uplink</th><th></th></tr></thead><tbody>
      ${all.filter((p) => p.los > t).slice(0, 12).map((p) => html`<tr><td>${p.place}</td><td class="num">${day(p.aos).slice(5)} ${clock(p.aos)}</td><td class="num">${clock(p.los)}</td><td class="num">${clock(p.uplink_from)} to ${clock(p.uplink_to)}</td><td>${p.aos <= t ? html`<span class="tag nominal">on</span>` : until(p.aos, t)}</td></tr>`)}</tbody></table></section>`;
}
