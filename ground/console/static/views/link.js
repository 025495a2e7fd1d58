// The downlink, stage by stage and channel by channel; what receivers hear where a radio runs.
import { html, number } from "../lib.js";
import { link } from "../live.js";
import { LinkPanel } from "./now.js";
import { Radios } from "./radio.js";

export function Link() {
  const l = link.value;
  if (!l) return html`<p>No word from receive yet.</p><${Radios} />`;
  const channels = Object.entries(l.virtual_channels), columns = channels.length ? Object.keys(channels[0][1]) : [];
  return html`<${Radios} /><div class="grid"><${LinkPanel} />${Object.entries(l.counts).map(([stage, counts]) => html`<section class="panel" aria-label=${stage}><h2>${stage.replaceAll("_", " ")}</h2>
      <table><tbody>${Object.entries(counts).map(([n, v]) => html`<tr><td>${n.replaceAll("_", " ")}</td><td class="num">${number(v)}</td></tr>`)}</tbody></table></section>`)}</div>
    <section class="panel"><h2>Virtual channels</h2><table aria-label="Virtual channels"><thead><tr><th>VC</th>${columns.map((c) => html`<th>${c.replaceAll("_", " ")}</th>`)}</tr></thead>
      <tbody>${channels.map(([vc, c]) => html`<tr><td>${vc}</td>${columns.map((n) => html`<td class=${"num" + (n === "missing" && c[n] ? " warning" : "")}>${number(c[n])}</td>`)}</tr>`)}</tbody></table></section>`;
}
