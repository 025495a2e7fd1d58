// At a glance: pass and link, what is out of limits, alarms, commands under way, services.
import { clock, html, number, severity, span, stamp, until } from "../lib.js";
import { alarms, commands, events, link, now, onboard, parameters, services, windows } from "../live.js";
import { session } from "../lib.js";

export function PassPanel() {
  const t = now.value, w = windows();
  if (!w.planned) return html`<section class="panel"><h2>Pass</h2><p>Nobody plans passes: the link is always up.</p></section>`;
  return html`<section class="panel" aria-label="Pass"><h2>Pass</h2>
    ${w.pass ? html`<p><span class="tag nominal">${w.pass.place}</span> until ${clock(w.pass.los)}, ${until(w.pass.los, t)}</p>`
      : html`<p><span class="tag warning">NO PASS</span> nothing is received</p>`}
    ${w.uplink ? html`<p><span class="tag nominal">UPLINK OPEN</span> until ${clock(w.uplink.uplink_to)}, ${until(w.uplink.uplink_to, t)}</p>`
      : html`<p><span class="tag warning">NO UPLINK</span> ${w.nextUplink ? `${w.nextUplink.place} ${until(w.nextUplink.uplink_from, t)}` : "none planned"}</p>`}
    ${w.next && html`<p class="dim">next ${w.next.place}, AOS ${clock(w.next.aos)}, ${until(w.next.aos, t)}</p>`}</section>`;
}

export function LinkPanel() {
  const l = link.value, t = now.value;
  if (!l) return html`<section class="panel stale"><h2>Link</h2><p>no word from receive</p></section>`;
  const old = t - l.time > 5000 * session.value.speed;
  const c = l.counts;
  return html`<section class=${"panel" + (old ? " stale" : "")} aria-label="Link"><h2>Link ${l.link}</h2>
    <p><span class=${"tag " + (old || l.state !== "OK" ? "warning" : "nominal")}>${old ? `SILENT, last said ${l.state}` : l.state}</span>
      ${" "}${l.carrier ? "carrier locked" : "no carrier"}${l.detail && ` · ${l.detail}`}</p>
    <table><tbody>
      <tr><td>last frame</td><td class="num">${(Math.abs(l.last_ert - t) < 43_200_000 ? clock : stamp)(l.last_ert)} ${l.last_ert ? (l.last_ert >= t && l.last_ert - t < 5000 * session.value.speed ? "now" : until(l.last_ert, t)) : ""}</td></tr>
      <tr><td>frames</td><td class="num">${number(c.frames?.good ?? 0)}</td></tr>
      <tr><td>gaps</td><td class="num">${number(Object.values(l.virtual_channels).reduce((s, v) => s + (v.missing ?? 0), 0))}</td></tr>
      <tr><td>corrected symbols</td><td class="num">${number(c.coding?.corrected_symbols ?? 0)}</td></tr>
      <tr><td>uncorrectable</td><td class="num">${number(c.coding?.uncorrectable ?? 0)}</td></tr>
      ${Object.entries(c).filter(([stage]) => stage.startsWith("carrier ")).map(([stage, o]) => html`
        <tr><td>${stage.slice(8)} frames</td><td class="num">${number(o.good)}, ${number(o.missing)} missing, ${number(o.uncorrectable)} uncorrectable</td></tr>`)}
    </tbody></table></section>`;
}

function Limits() {
  const out = [];
  for (const [packet, block] of Object.entries(parameters.value))
    for (const [name, [value, unit, state, since]] of Object.entries(block.values))
      if (!name.startsWith("EVT_") && (severity(state) === "warning" || severity(state) === "critical")) out.push({ name, value, unit, state, since, stale: block.stale, packet });
  out.sort((a, b) => (severity(b.state) === "critical") - (severity(a.state) === "critical"));
  return html`<section class="panel wide" aria-label="Out of limits"><h2>Out of limits</h2>
    ${out.length === 0 && html`<p class="nominal">all within limits</p>`}
    <table><tbody>${out.slice(0, 20).map((o) => html`<tr><td><a href=${"#plots/" + o.name}>${o.name}</a></td><td class="num">${number(o.value)} ${o.unit}</td>
      <td><span class=${"tag " + severity(o.state)}>${o.state.replace("_", " ")}${o.stale ? ", STALE" : ""}</span></td><td class="dim">since ${clock(o.since)}</td></tr>`)}</tbody></table></section>`;
}

export function Now() {
  const t = now.value, o = onboard.value;
  const loud = alarms.value.slice(0, 8);
  return html`<div class="grid">
    <${PassPanel} /><${LinkPanel} /><${Limits} />
    <section class="panel wide" aria-label="Alarms"><h2><a href="#alarms">Alarms</a></h2>
      ${loud.length === 0 && html`<p class="nominal">none</p>`}
      <table><tbody>${loud.map((a) => html`<tr><td><span class=${"tag " + a.severity}>${a.state}</span></td><td>${a.name}</td><td class="dim">${until(a.since, t)}</td></tr>`)}</tbody></table></section>
    <section class="panel" aria-label="On-board clock"><h2>On-board clock</h2>
      ${o ? html`<p>ahead of UTC by <b class="mono">${(o.offset_ns / 1e6).toFixed(3)} ms</b> ± ${(o.error_ns / 1e6).toFixed(3)} ms</p>
        <p class="dim">drift ${o.drift_ppb.toFixed(1)} ppb · ${o.reports} reports, the last left ${until(o.last_report, t)}${o.suspected ? " · LAST REPORT DID NOT FIT" : ""}</p>`
        : html`<p class="dim">no time report yet</p>`}</section>
    <section class="panel" aria-label="Commands"><h2><a href="#commands">Commands</a></h2>
      <table><tbody>${commands.value.filter((c) => c.number > 0).slice(-8).reverse().map((c) => html`<tr><td class="dim">${clock(c.time)}</td><td>${c.number} ${c.command}</td><td>${c.event}</td><td>${c.state}</td></tr>`)}</tbody></table></section>
    <section class="panel" aria-label="Events"><h2><a href="#events">Events</a></h2>
      <table><tbody>${events.value.slice(-10).reverse().map((e) => html`<tr><td class="dim">${clock(e.scet)}</td><td>${e.severity !== "info" && html`<span class=${"tag " + e.severity}>${e.severity}</span> `}${e.text}${e.playback ? " (stored)" : ""}</td></tr>`)}</tbody></table></section>
    <section class="panel" aria-label="Services"><h2><a href="#health">Services</a></h2>
      <table><tbody>${Object.entries(services.value).map(([name, s]) => {
        const silent = t - s.time > 5000 * session.value.speed;
        return html`<tr><td>${name}</td><td class=${silent || s.state === "failed" ? "critical" : s.state === "running" ? "nominal" : "warning"}>${silent ? "silent" : s.state}</td></tr>`;
      })}</tbody></table></section></div>`;
}
