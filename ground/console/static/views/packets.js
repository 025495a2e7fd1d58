// Archived packets: octets beside what they mean.
import { api, attempt, clock, html, number, useEffect, useState } from "../lib.js";
import { now, owlt } from "../live.js";

const hexdump = (hex) => (hex.match(/.{1,32}/g) ?? []).map((row, i) => {
  const bytes = row.match(/../g), text = bytes.map((b) => { const c = parseInt(b, 16); return c > 31 && c < 127 ? String.fromCharCode(c) : "."; }).join("");
  return `${(i * 16).toString(16).padStart(4, "0")}  ${bytes.join(" ").padEnd(47)}  ${text}`;
}).join("\n");

export function Packets() {
  const [apid, setApid] = useState(""), [minutes, setMinutes] = useState(10), [found, setFound] = useState([]), [at, setAt] = useState(null);
  const load = async () => {
    const to = now.value, from = to - minutes * 60e3;
    const got = await attempt(() => api("GET", `/packets?from=${from}&to=${to}&apid=${apid === "" ? -1 : apid}&last=200`));
    if (got) { setFound(got.reverse()); setAt(got[0] ?? null); }
  };
  useEffect(() => { if (now.value) load(); }, [now.value > 0]);
  return html`<form class="row" onSubmit=${(e) => { e.preventDefault(); load(); }}><label>APID <input type="number" min="0" max="2047" placeholder="all" value=${apid} onInput=${(e) => setApid(e.target.value)} /></label>
      <label>Last <input type="number" min="1" max="100000" value=${minutes} onInput=${(e) => setMinutes(Number(e.target.value))} /> min</label><button class="primary">Show</button></form>
    <div class="grid" style="grid-template-columns: repeat(2, minmax(0, 1fr))"><section class="panel" style="max-height:70vh"><table aria-label="Packets"><thead><tr><th>ERT</th><th>VC</th><th>APID</th><th>count</th><th>octets</th><th></th></tr></thead><tbody>
      ${found.map((p) => html`<tr key=${p.number} tabindex="0" class=${at?.number === p.number ? "on" : ""} onClick=${() => setAt(p)} onKeyDown=${(e) => e.key === "Enter" && setAt(p)}><td class="num">${clock(p.ert)}</td><td class="num">${p.vcid}</td><td class="num">${p.apid}</td><td class="num">${p.sequence_count}</td><td class="num">${p.octets.length / 2}</td><td>${p.fields?.definition ?? ""}${p.playback ? " (stored)" : ""}</td></tr>`)}</tbody></table></section>
    ${at && html`<div><section class="panel" aria-label="Octets"><h2>${at.fields?.definition ?? `APID ${at.apid}`} <span class="dim">SCET ${clock(at.scet)}</span></h2><pre class="hex">${hexdump(at.octets)}</pre></section>
      <section class="panel" aria-label="Fields" style="max-height:45vh"><table><tbody>${(at.fields?.fields ?? []).map(([n, v, unit, raw]) => html`<tr><td>${n}</td><td class="num">${number(v)} ${unit}</td><td class="num dim">${number(raw)}</td></tr>`)}</tbody></table></section></div>`}</div>`;
}
