// What happened, newest first: limits, on-board events, silence.
import { html, stamp, useState } from "../lib.js";
import { events } from "../live.js";

export function Events() {
  const [level, setLevel] = useState("info"), [text, setText] = useState("");
  const rank = { info: 0, warning: 1, critical: 2 };
  const found = events.value.filter((e) => rank[e.severity] >= rank[level] && `${e.name} ${e.text}`.toLowerCase().includes(text.toLowerCase())).slice(-300).reverse();
  return html`<div class="row"><label>From <select value=${level} onChange=${(e) => setLevel(e.target.value)}>${Object.keys(rank).map((r) => html`<option>${r}</option>`)}</select></label>
    <label>Filter <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></label></div>
  <section class="panel"><table aria-label="Events"><thead><tr><th>SCET</th><th>received</th><th>severity</th><th>kind</th><th>name</th><th>what</th></tr></thead><tbody>
    ${found.map((e) => html`<tr><td class="num">${stamp(e.scet)}</td><td class="num">${stamp(e.ert)}</td><td><span class=${"tag " + (e.severity === "info" ? "" : e.severity)}>${e.severity}</span></td>
      <td>${e.kind}</td><td>${e.name}</td><td>${e.text}${e.playback ? html` <span class="dim">(stored data)</span>` : ""}</td></tr>`)}
    ${!found.length && html`<tr><td colspan="6" class="dim">${events.value.length ? "None that is asked for." : "None since the console began to listen; l4 archive events has those before."}</td></tr>`}</tbody></table></section>`;
}
