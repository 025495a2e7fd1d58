// Tables by subsystem: value, limit state in words and colour, how old, and a click to its history.
import { api, clock, effect, go, html, number, severity, signal, until, useEffect, useRef, useState } from "../lib.js";
import { block, now, packets, parameters } from "../live.js";
import { LayoutBar } from "./layouts.js";

// A little history of each number for its sparkline, while the page is open: a point a second at most.
const history = new Map(), POINTS = 60, second = signal(0);
let at = 0;
effect(() => {
  const all = parameters.value;
  if (performance.now() - at < 1000) return;
  at = performance.now();
  for (const { scet, values } of Object.values(all)) for (const [name, [value]] of Object.entries(values)) {
    if (typeof value !== "number") continue;
    let kept = history.get(name);
    if (!kept) history.set(name, (kept = { scet: 0, values: [] }));
    if (kept.scet === scet) continue;
    kept.scet = scet;
    kept.values.push(value);
    if (kept.values.length > POINTS) kept.values.shift();
  }
  second.value = at;
});

function Spark({ name, seen }) {
  const values = seen && second.value && history.get(name)?.values;
  if (!values || values.length < 3) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const low = Math.min(...values), high = Math.max(...values);
  const y = (v) => 18 - (high === low ? 9 : (16 * (v - low)) / (high - low));
  const points = values.map((v, i) => `${((i * 96) / (values.length - 1)).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 96 20" preserveAspectRatio="none" aria-hidden="true"><polyline points=${points} fill="none" stroke="var(--accent)" /></svg>`;
}

const Ago = ({ time }) => html`<span>received ${time >= now.value ? "now" : until(time, now.value)}</span>`;

// What is out of sight is not drawn again until it is looked at.
const sights = new Map();
const watch = new IntersectionObserver((seen) => { for (const one of seen) sights.get(one.target)?.(one.isIntersecting); }, { rootMargin: "200px" });
function useSight(element) {
  const [seen, see] = useState(false);
  useEffect(() => {
    const here = element.current;
    sights.set(here, see); watch.observe(here);
    return () => { sights.delete(here); watch.unobserve(here); };
  }, []);
  return seen;
}

const plot = (name) => () => (location.hash = `plots/${name}`);

function Packet({ group, packet, wanted, bad, close }) {
  const element = useRef(null), seen = useSight(element), newest = block(packet);
  // Where rows come and go with their state, the order of the page depends on what is out of sight.
  const { values = {}, stale, scet, ert } = (seen || bad ? newest.value : newest.peek()) ?? {};
  const rows = Object.entries(values).filter(([n, v]) => n.includes(wanted) && (!bad || ["warning", "critical"].includes(severity(v[2]))));
  return html`<section ref=${element} class=${"panel packet" + (stale ? " stale" : "")} aria-label=${packet} hidden=${!rows.length}>
    <h2>${group} · ${packet} ${close && html`<button class="chrome small" aria-label=${`Close ${packet}`} onClick=${close}>×</button>`} ${stale && html`<span class="tag warning">STALE</span>`}</h2>
    <p class="dim">SCET ${clock(scet)} · <${Ago} time=${ert} /></p>
    <table><tbody>${rows.map(([name, [value, unit, state]]) => html`<tr key=${name} tabindex="0" onClick=${plot(name)} onKeyDown=${(e) => e.key === "Enter" && plot(name)()}>
      <td>${name}</td><td class="num" title=${Array.isArray(value) || typeof value === "string" ? number(value) : undefined}>${`${number(value)} ${unit}`}</td>
      <td class=${severity(state)}>${state === "NOMINAL" ? "ok" : state.replace("_", " ")}</td><td><${Spark} name=${name} seen=${seen} /></td></tr>`)}</tbody></table></section>`;
}

// Its link: telemetry/PACKET,PACKET or "all"/filter/"bad".
export function Telemetry({ rest }) {
  const [groups, setGroups] = useState({});
  const chosen = rest[0] && rest[0] !== "all" ? rest[0].split(",") : [], filter = decodeURIComponent(rest[1] ?? ""), bad = rest[2] === "bad";
  const show = (packets, text, only) => go(`telemetry/${packets.join(",") || "all"}/${encodeURIComponent(text)}${only ? "/bad" : ""}`, true);
  useEffect(() => { api("GET", "/subsystems").then(setGroups).catch(() => {}); }, []);
  const here = packets.value.split(" ").filter(Boolean), known = new Set(Object.values(groups).flat());
  const all = { ...groups, Others: here.filter((n) => !known.has(n)) };
  const shown = (packet) => here.includes(packet) && (!chosen.length || chosen.includes(packet));
  return html`<div class="row chrome"><label>Filter <input type="search" value=${filter} onInput=${(e) => show(chosen, e.target.value, bad)} placeholder="PWR, TEMP…" /></label>
      <label><input type="checkbox" checked=${bad} onChange=${(e) => show(chosen, filter, e.target.checked)} /> only out of limits</label>
      <label>Packets <select value="" onChange=${(e) => e.target.value && show(e.target.value === "all" ? [] : [...new Set([...chosen, e.target.value])], filter, bad)}><option value="">${chosen.length ? `${chosen.length} chosen; add` : "all; choose"}</option>
        ${chosen.length > 0 && html`<option value="all">all</option>`}${[...here].sort().map((p) => html`<option>${p}</option>`)}</select></label>
      <${LayoutBar} /></div>
    ${!here.length && html`<p class="dim">No telemetry has been received since the console began to listen.</p>`}
    <div class="grid packets">${Object.entries(all).map(([group, some]) => some.filter(shown).map((packet) =>
      html`<${Packet} key=${packet} group=${group} packet=${packet} wanted=${filter.toUpperCase()} bad=${bad}
        close=${chosen.length > 0 && (() => show(chosen.filter((c) => c !== packet), filter, bad))} />`))}</div>`;
}
