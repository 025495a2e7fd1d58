// Services: state, what they say, what waits, memory, gaps of the bus.
import { html, number, silent, until } from "../lib.js";
import { now, services } from "../live.js";

export function Health() {
  const t = now.value;
  return html`<section class="panel"><table aria-label="Services"><thead><tr><th>service</th><th>state</th><th>said</th><th>running since</th><th>waits</th><th>MiB</th><th>gaps</th><th>lost</th><th></th></tr></thead><tbody>
    ${Object.entries(services.value).map(([name, s]) => {
      const quiet = silent(s, t);
      return html`<tr><td>${name}</td><td><span class=${"tag " + (quiet || s.state === "failed" ? "critical" : s.state === "running" ? "nominal" : "warning")}>${quiet ? "silent" : s.state}</span></td>
        <td class="num">${s.time ? until(s.time, t) : "never"}</td><td class="num">${s.started ? until(s.started, t) : "–"}</td><td class="num">${number(s.lag)}</td><td class="num">${number(Math.round(s.mib))}</td>
        <td class="num">${number(s.counters.bus_gaps ?? 0)}</td><td class=${"num" + (s.counters.bus_lost ? " critical" : "")}>${number(s.counters.bus_lost ?? 0)}</td><td class="dim">${s.detail}</td></tr>`;
    })}</tbody></table></section>`;
}
