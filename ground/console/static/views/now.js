// At a glance: pass and link, what is out of limits, alarms, commands under way, services.
import { clock, html, near, number, session, severity, silent, until } from "../lib.js";
import { alarms, commands, deaf, events, link, now, onboard, parameters, services, windows } from "../live.js";

export function PassPanel() {
  const t = now.value, w = windows(), l = link.value;
  // What is planned is not what is: without the station neither way is open.
  const cut = l !== null && (l.state !== "OK" || silent(l, t)), tag = cut ? "warning" : "nominal";
  if (!w.planned) return html`<section class="panel"><h2>Pass</h2><p>Nobody plans passes: the link is always up.</p></section>`;
  return html`<section class="panel" aria-label="Pass"><h2>Pass</h2>
    ${w.pass ? html`<p><span class=${"tag " + tag}>${w.pass.place}</span> ${cut ? `${silent(l, t) ? "RECEIVE IS SILENT" : "STATION NOT REACHED"}, planned ` : ""}until ${clock(w.pass.los)}, ${until(w.pass.los, t)}</p>`
      : html`<p><span class="tag warning">NO PASS</span> nothing is received</p>`}
    ${w.uplink ? html`<p><span class=${"tag " + tag}>${cut ? "NO UPLINK" : "UPLINK OPEN"}</span> ${cut ? "planned " : ""}until ${clock(w.uplink.uplink_to)}, ${until(w.uplink.uplink_to, t)}</p>`
      : html`<p><span class="tag warning">NO UPLINK</span> ${w.nextUplink ? `${w.nextUplink.place} ${until(w.nextUplink.uplink_from, t)}` : "none planned"}</p>`}
    ${w.next && html`<p class="dim">next ${w.next.place}, AOS ${clock(w.next.aos)}, ${until(w.next.aos, t)}</p>`}</section>`;
}

export function LinkPanel() {
  const l = link.value, t = now.value;
  if (!l) return html`<section class="panel stale"><h2>Link</h2><p>no word from receive</p></section>`;
  const old = silent(l, t);
  const c = l.counts;
  return html`<section class=${"panel" + (old ? " stale" : "")} aria-label="Link"><h2>Link ${l.link}</h2>
    <p><span class=${"tag " + (old || ["UNAVAILABLE", "FAILED"].includes(l.state) ? "critical" : l.state === "OK" ? "nominal" : "warning")}>${old ? `SILENT, last said ${l.state}` : l.state}</span>
      ${" "}${l.carrier ? "carrier locked" : "no carrier"}${l.detail && ` · ${l.detail}`}</p>
    <table><tbody>
      <tr><td>last frame</td><td class="num">${near(l.last_ert, t)} ${l.last_ert ? (l.last_ert >= t && l.last_ert - t < 5000 * session.value.speed ? "now" : until(l.last_ert, t)) : ""}</td></tr>
      <tr><td>frames</td><td class="num">${number(c.frames?.good ?? 0)}</td></tr>
      <tr><td>gaps</td><td class="num">${number(Object.values(l.virtual_channels).reduce((s, v) => s + (v.missing ?? 0), 0))}</td></tr>
      <tr><td>corrected symbols</td><td class="num">${number(c.coding?.corrected_symbols ?? 0)}</td></tr>
      <tr><td>uncorrectable</td><td class="num">${number(c.coding?.uncorrectable ?? 0)}</td></tr>
      ${Object.entries(c).filter(([stage]) => stage.startsWith("carrier ")).map(([stage, o]) => html`
        <tr><td>${stage.slice(8)} frames</td><td class="num">${number(o.good)}, ${number(o.missing)} missing, ${number(o.uncorrectable)} uncorrectable</td></tr>`)}
    </tbody></table></section>`;
}

// How many more there are than are shown.
const More = ({ of, shown, view }) => of > shown && html`<p><a href=${"#" + view}>and ${of - shown} more</a></p>`;

function Limits() {
  const out = [], all = Object.values(parameters.value), old = all.filter((block) => block.stale).length;
  for (const [packet, block] of Object.entries(parameters.value))
    for (const [name, [value, unit, state, since]] of Object.entries(block.values))
      if (!name.startsWith("EVT_") && (severity(state) === "warning" || severity(state) === "critical")) out.push({ name, value, unit, state, since, stale: block.stale, packet });
  out.sort((a, b) => (severity(b.state) === "critical") - (severity(a.state) === "critical"));
  return html`<section class="panel wide" aria-label="Out of limits"><h2>Out of limits</h2>
    ${!all.length ? html`<p class="dim">no telemetry has been received since the console began to listen</p>`
      : !out.length && html`<p class=${old || deaf.value ? "dim" : "nominal"}>all within limits${old || deaf.value ? " when last heard of" : ""}</p>`}
    ${old > 0 && html`<p><span class="tag warning">STALE</span> ${old === all.length ? "all" : `${old} of ${all.length}`} packets have stopped coming</p>`}
    <table><tbody>${out.slice(0, 20).map((o) => html`<tr><td><a href=${"#plots/" + o.name}>${o.name}</a></td><td class="num">${number(o.value)} ${o.unit}</td>
      <td><span class=${"tag " + severity(o.state)}>${o.state.replace("_", " ")}${o.stale ? ", STALE" : ""}</span></td><td class="dim">since ${clock(o.since)}</td></tr>`)}</tbody></table><${More} of=${out.length} shown=${20} view="telemetry/all//bad" /></section>`;
}

export function Now() {
  const t = now.value, o = onboard.value;
  const loud = alarms.value.slice(0, 8), monitor = services.value.monitor;
  return html`<div class="grid">
    <${PassPanel} /><${LinkPanel} /><${Limits} />
    <section class="panel wide" aria-label="Alarms"><h2><a href="#alarms">Alarms</a></h2>
      ${monitor && silent(monitor, t) ? html`<p><span class="tag critical">MONITOR IS SILENT</span> no alarm can be raised</p>` : loud.length === 0 && html`<p class="nominal">none</p>`}
      <table><tbody>${loud.map((a) => html`<tr><td><span class=${"tag " + a.severity}>${a.severity}</span></td><td>${a.state}${a.active ? "" : ", gone"}</td><td>${a.name}</td><td class="dim">${until(a.since, t)}</td></tr>`)}</tbody></table>
      <${More} of=${alarms.value.length} shown=${8} view="alarms" /></section>
    <section class="panel" aria-label="On-board clock"><h2>On-board clock</h2>
      ${o ? html`<p>ahead of UTC by <b class="mono">${(o.offset_ns / 1e6).toFixed(3)} ms</b> ± ${(o.error_ns / 1e6).toFixed(3)} ms</p>
        <p class="dim">drift ${o.drift_ppb.toFixed(1)} ppb · ${o.reports} reports, the last left ${until(o.last_report, t)}${o.suspected ? " · LAST REPORT DID NOT FIT" : ""}</p>`
        : html`<p class="dim">no time report yet</p>`}</section>
    <section class="panel" aria-label="Commands"><h2><a href="#commands">Commands</a></h2>
      <table><tbody>${commands.value.filter((c) => c.number > 0).slice(-8).reverse().map((c) => html`<tr><td class="dim">${clock(c.time)}</td><td>${c.number} ${c.command}</td><td>${c.event}</td><td><span class=${"tag " + ({ failed: "critical", unknown: "warning", held: "warning", completed: "nominal" }[c.state] ?? "")}>${c.state}</span></td></tr>`)}</tbody></table></section>
    <section class="panel" aria-label="Events"><h2><a href="#events">Events</a></h2>
      <table><tbody>${events.value.slice(-10).reverse().map((e) => html`<tr><td class="dim">${clock(e.scet)}</td><td>${e.severity !== "info" && html`<span class=${"tag " + e.severity}>${e.severity}</span> `}${e.text}${e.playback ? " (stored)" : ""}</td></tr>`)}</tbody></table></section>
    <section class="panel" aria-label="Services"><h2><a href="#health">Services</a></h2>
      <table><tbody>${Object.entries(services.value).map(([name, s]) => {
        const quiet = silent(s, t);
        return html`<tr><td>${name}</td><td class=${quiet || s.state === "failed" ? "critical" : s.state === "running" ? "nominal" : "warning"}>${quiet ? "silent" : s.state}</td></tr>`;
      })}</tbody></table></section></div>`;
}
