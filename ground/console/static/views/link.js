// The downlink, stage by stage and channel by channel; what receivers hear where a radio runs.
import { html, number, session, until } from "../lib.js";
import { antennas, link, now, services } from "../live.js";
import { LinkPanel } from "./now.js";
import { Radios } from "./radio.js";

// Of several antennas: which are alive, hear and transmit, and whose link is shown as the site's.
function Antennas() {
  const all = Object.entries(antennas.value), counters = services.value.receive?.counters ?? {};
  if (!all.length) return null;
  return html`<section class="panel" aria-label="Antennas"><h2>Antennas</h2><table><thead><tr><th>antenna</th><th>state</th><th>carrier</th><th>frames</th><th>last frame</th><th></th></tr></thead>
    <tbody>${all.map(([name, a]) => {
      const old = now.value - a.time > 5000 * session.value.speed;
      const used = [!old && link.value?.link === name && "shown", counters[`transmits ${name}`] && "transmits"].filter(Boolean).join(", ");
      return html`<tr class=${old ? "stale" : ""}><td>${name}</td><td><span class=${"tag " + (old || a.state !== "OK" ? "warning" : "nominal")}>${old ? "SILENT" : a.state}</span> ${a.detail}</td>
        <td>${old ? "" : a.carrier ? "locked" : "none"}</td><td class="num">${number(a.frames)}</td><td class="num">${a.last_ert ? until(a.last_ert, now.value) : ""}</td><td>${used}</td></tr>`; })}</tbody></table></section>`;
}

export function Link() {
  const l = link.value;
  if (!l) return html`<p>No word from receive yet.</p><${Antennas} /><${Radios} />`;
  const channels = Object.entries(l.virtual_channels), columns = channels.length ? Object.keys(channels[0][1]) : [];
  return html`<${Antennas} /><${Radios} /><div class="grid"><${LinkPanel} />${Object.entries(l.counts).map(([stage, counts]) => html`<section class="panel" aria-label=${stage}><h2>${stage.replaceAll("_", " ")}</h2>
      <table><tbody>${Object.entries(counts).map(([n, v]) => html`<tr><td>${n.replaceAll("_", " ")}</td><td class="num">${number(v)}</td></tr>`)}</tbody></table></section>`)}</div>
    <section class="panel"><h2>Virtual channels</h2><table aria-label="Virtual channels"><thead><tr><th>VC</th>${columns.map((c) => html`<th>${c.replaceAll("_", " ")}</th>`)}</tr></thead>
      <tbody>${channels.map(([vc, c]) => html`<tr><td>${vc}</td>${columns.map((n) => html`<td class=${"num" + (n === "missing" && c[n] ? " warning" : "")}>${number(c[n])}</td>`)}</tr>`)}</tbody></table></section>`;
}
