// Tables by subsystem: value, limit state in words and colour, how old, and a click to its history.
import { api, clock, go, html, number, severity, until, useEffect, useState } from "../lib.js";
import { now, parameters } from "../live.js";
import { LayoutBar } from "./layouts.js";

const history = new Map();
let last = null;
// A little history of each number for its sparkline, while the page is open.
function remember() {
  if (parameters.value === last) return;
  last = parameters.value;
  for (const block of Object.values(last)) for (const [name, [value]] of Object.entries(block.values)) {
    if (typeof value !== "number") continue;
    const kept = history.get(name) ?? [];
    if (kept.at(-1)?.[0] === block.scet) continue;
    kept.push([block.scet, value]);
    if (kept.length > 60) kept.shift();
    history.set(name, kept);
  }
}

function Spark({ name }) {
  const kept = history.get(name) ?? [];
  if (kept.length < 3) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const values = kept.map((k) => k[1]), low = Math.min(...values), high = Math.max(...values);
  const y = (v) => 18 - (high === low ? 9 : (16 * (v - low)) / (high - low));
  const points = values.map((v, i) => `${(i * 96) / (values.length - 1)},${y(v).toFixed(1)}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 96 20" preserveAspectRatio="none" aria-hidden="true"><polyline points=${points} fill="none" stroke="var(--accent)" /></svg>`;
}

// Its link: telemetry/PACKET,PACKET or "all"/filter/"bad".
export function Telemetry({ rest }) {
  const [groups, setGroups] = useState({});
  const chosen = rest[0] && rest[0] !== "all" ? rest[0].split(",") : [], filter = decodeURIComponent(rest[1] ?? ""), bad = rest[2] === "bad";
  const show = (packets, text, only) => go(`telemetry/${packets.join(",") || "all"}/${encodeURIComponent(text)}${only ? "/bad" : ""}`, true);
  useEffect(() => { api("GET", "/subsystems").then(setGroups).catch(() => {}); }, []);
  remember();
  const t = now.value, seen = new Set(Object.values(groups).flat());
  const others = Object.keys(parameters.value).filter((n) => !seen.has(n));
  const all = others.length ? { ...groups, Others: others } : groups;
  const wanted = filter.toUpperCase();
  return html`<div class="row chrome"><label>Filter <input type="search" value=${filter} onInput=${(e) => show(chosen, e.target.value, bad)} placeholder="PWR, TEMP…" /></label>
      <label><input type="checkbox" checked=${bad} onChange=${(e) => show(chosen, filter, e.target.checked)} /> only out of limits</label>
      <label>Packets <select value="" onChange=${(e) => e.target.value && show(e.target.value === "all" ? [] : [...new Set([...chosen, e.target.value])], filter, bad)}><option value="">${chosen.length ? `${chosen.length} chosen; add` : "all; choose"}</option>
        ${chosen.length > 0 && html`<option value="all">all</option>`}${Object.keys(parameters.value).sort().map((p) => html`<option>${p}</option>`)}</select></label>
      <${LayoutBar} /></div>
    ${Object.keys(parameters.value).length === 0 && html`<p class="dim">No telemetry has been received since the console began to listen.</p>`}
    <div class="grid">${Object.entries(all).map(([group, packets]) => packets.filter((p) => parameters.value[p] && (!chosen.length || chosen.includes(p))).map((packet) => {
      const block = parameters.value[packet];
      const rows = Object.entries(block.values).filter(([n, v]) => n.includes(wanted) && (!bad || ["warning", "critical"].includes(severity(v[2]))));
      if (!rows.length) return null;
      return html`<section class=${"panel" + (block.stale ? " stale" : "")} key=${packet} aria-label=${packet}>
        <h2>${group} · ${packet} ${chosen.length > 0 && html`<button class="chrome small" aria-label=${`Close ${packet}`} onClick=${() => show(chosen.filter((c) => c !== packet), filter, bad)}>×</button>`} ${block.stale && html`<span class="tag warning">STALE</span>`}</h2>
        <p class="dim">SCET ${clock(block.scet)} · received ${until(block.ert, t)}</p>
        <table><tbody>${rows.map(([name, [value, unit, state]]) => html`<tr tabindex="0" onClick=${() => (location.hash = `plots/${name}`)}
          onKeyDown=${(e) => e.key === "Enter" && (location.hash = `plots/${name}`)}>
          <td>${name}</td><td class="num">${number(value)} ${unit}</td>
          <td class=${severity(state)}>${state === "NOMINAL" ? "ok" : state.replace("_", " ")}</td><td><${Spark} name=${name} /></td></tr>`)}</tbody></table></section>`;
    }))}</div>`;
}
