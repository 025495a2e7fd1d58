// Planning a pass: what is free, a what-if with light time and conflicts, and publishing it.
import { api, attempt, clock, html, minute, signal, span, until, useEffect, useLoad, useRef, useState } from "../lib.js";
import { now, passes } from "../live.js";

// What the chart shows of it.
export const idea = signal(null);

const field = (ms) => (ms ? new Date(ms).toISOString().slice(0, 16).replace("T", " ") : "");
const read = (text) => Date.parse(`${text.trim().replace(" ", "T")}:00Z`);
const PATTERN = "\\d{4}-\\d{2}-\\d{2} \\d{2}:\\d{2}";
const hours = (ms) => `${(ms / 3600e3).toFixed(1)} h`;

function Free({ views, antenna, take }) {
  const own = passes.value?.passes ?? [];
  const rows = views.flatMap((v) => v.free.map((f) => ({ ...v, ...f }))).filter((f) => !antenna || f.antenna === antenna);
  const used = (f) => own.some((p) => p.place.split(" ")[0].toUpperCase() === f.antenna && p.aos < f.to_ms && f.from_ms < p.los);
  const shown = rows.filter((f) => antenna || !used(f)).slice(0, 12);
  return html`<table aria-label="Free"><thead><tr><th>antenna</th><th>free from</th><th>to</th><th></th><th title="highest elevation">elev.</th><th title="angle from the Sun">Sun</th><th></th></tr></thead><tbody>
    ${shown.map((f) => html`<tr><td>${f.antenna} <span class="dim">${f.complex}</span></td><td class="num">${minute(f.from_ms)}</td><td class="num">${minute(f.to_ms)}</td>
      <td class="num">${hours(f.to_ms - f.from_ms)}</td><td class="num">${f.elevation_deg.toFixed(0)}°</td><td class="num">${f.sun_angle_deg.toFixed(0)}°</td>
      <td><button aria-label=${`Take ${f.antenna} ${minute(f.from_ms)}`} onClick=${() => take(f)}>Take</button></td></tr>`)}</tbody></table>
    ${shown.length === 0 && html`<p class="dim">nothing is free of what is planned</p>`}`;
}

function Result({ found, wanted, done }) {
  const [why, setWhy] = useState("");
  const t = now.value, old = passes.value && passes.value.version !== found.version;
  const publish = async (event) => {
    event.preventDefault();
    const answer = await attempt(() => api("POST", "/passes", { ...wanted, version: found.version, why }));
    if (answer) done(answer);
  };
  const sooner = found.arrival_without_ms && found.arrival_ms ? found.arrival_without_ms - found.arrival_ms : 0;
  return html`<section class="panel" aria-label="What if" aria-live="polite"><h2>What if: ${found.place ?? found.antenna} ${minute(found.aos_ms)} to ${minute(found.los_ms)} <span class="tag ${found.possible ? "nominal" : "critical"}">${found.possible ? "POSSIBLE" : "NOT POSSIBLE"}</span> <span class="dim">nothing is written yet</span></h2>
    ${found.problems.map((p) => html`<p class="critical">✗ ${p}</p>`)}
    ${found.setup_ms !== undefined && html`<table><thead><tr><th></th><th>ground, UTC</th><th>spacecraft, UTC</th><th></th></tr></thead><tbody>
      <tr><td>antenna is ours, with set-up</td><td class="num">${clock(found.setup_ms)} to ${clock(found.release_ms)}</td><td></td><td class="dim">${until(found.setup_ms, t)}</td></tr>
      <tr><td>receives</td><td class="num">${clock(found.aos_ms)} to ${clock(found.los_ms)}</td><td class="num">${clock(found.scet_from_ms)} to ${clock(found.scet_to_ms)}</td><td class="dim">left ${span(found.owlt_s * 1000)} before</td></tr>
      <tr><td>may transmit</td>${found.uplink_from_ms ? html`<td class="num">${clock(found.uplink_from_ms)} to ${clock(found.uplink_to_ms)}</td><td class="num">${clock(found.arrival_ms)} to ${clock(found.arrival_to_ms)}</td><td class="dim">arrives ${span(found.owlt_s * 1000)} after</td>` : html`<td colspan="3" class="warning">never: too low for the transmitter</td>`}</tr>
      ${found.arrival_ms > 0 && html`<tr><td><b>first command of this pass</b></td><td class="num">reply ${clock(found.reply_ms)}</td><td class="num"><b>${clock(found.arrival_ms)}</b></td><td>${until(found.arrival_ms, t)}</td></tr>
      <tr><td>earliest command as planned now</td><td></td><td class="num">${clock(found.arrival_without_ms)}</td><td class="dim">${!found.arrival_without_ms ? "none is possible" : sooner > 0 ? `this pass is ${span(sooner)} sooner` : "this pass is no sooner"}</td></tr>
      <tr><td>last command answered in it</td><td class="num">${found.last_answered_ms ? clock(found.last_answered_ms) : "–"}</td><td></td><td class="dim">${found.last_answered_ms ? "" : "too short for a round trip"}</td></tr>`}</tbody></table>`}
    ${found.changes.length > 0 && html`<p class="warning">The spacecraft has one link; publishing changes:</p><ul>${found.changes.map((c) => html`<li>${c}</li>`)}</ul>`}
    ${found.setup_ms !== undefined && found.problems.length === 0 && found.changes.length === 0 && html`<p class="nominal">No pass of this or another mission is touched.</p>`}
    ${old && html`<p class="warning">Another plan (version ${passes.value.version}) has been published since: try again.</p>`}
    ${found.possible && !old && html`<form class="row" onSubmit=${publish}><label>Why <input required maxlength="500" size="34" value=${why} onInput=${(e) => setWhy(e.target.value)} placeholder="stations and missions read this" /></label>
      <button class="danger" type="submit">Publish pass${found.changes.length ? `, change ${found.changes.length}` : ""}</button></form>`}</section>`;
}

export function PlanPass({ antenna: asked }) {
  const [antenna, setAntenna] = useState(asked), [begin, setBegin] = useState(""), [end, setEnd] = useState("");
  const [found, setFound] = useState(null), [wanted, setWanted] = useState(null), [said, say] = useState("");
  const [all, error] = useLoad(() => api("GET", "/passes/views"), 30000, [passes.value?.version]);
  const first = useRef(null);
  useEffect(() => { first.current?.focus(); return () => { idea.value = null; }; }, []);
  const views = all?.views ?? [], antennas = [...new Map(views.map((v) => [v.antenna, v])).values()].sort((a, b) => a.antenna.localeCompare(b.antenna));
  useEffect(() => {
    const mine = views.filter((v) => v.antenna === antenna);
    idea.value = antenna ? { antenna, begin: read(begin), end: read(end), views: mine, held: mine.flatMap((v) => v.held) } : null;
  }, [antenna, begin, end, all]);
  const ask = async (one) => {
    say("");
    const answer = await attempt(() => api("POST", "/passes/try", one));
    setWanted(one); setFound(answer);
  };
  const take = (f) => {
    // Long passes are for those who want them: six hours to begin with.
    const b = Math.ceil(f.from_ms / 60e3) * 60e3, e = Math.min(Math.floor(f.to_ms / 60e3) * 60e3, b + 6 * 3600e3);
    setAntenna(f.antenna); setBegin(field(b)); setEnd(field(e));
    ask({ antenna: f.antenna, begin: b, end: e });
  };
  const submit = (event) => { event.preventDefault(); ask({ antenna, begin: read(begin), end: read(end) }); };
  const done = (answer) => { setFound(null); say(`Published as version ${answer.published}${answer.shared ? "; entered into the missions' shared schedule" : ""}.`); };
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}${said && html`<p class="nominal" role="status">✓ ${said}</p>`}
    <div class="grid" style="grid-template-columns: minmax(17rem, 1fr) minmax(0, 2.4fr)"><section class="panel" aria-label="Plan a pass"><h2>Plan a pass</h2><form onSubmit=${submit}>
      <label class="field">Antenna <select ref=${first} required value=${antenna} onChange=${(e) => { setAntenna(e.target.value); setFound(null); }}><option value="">any: choose</option>
        ${antennas.map((v) => html`<option value=${v.antenna}>${v.antenna}${v.complex ? `, ${v.complex}` : ""}</option>`)}</select></label>
      <label class="field">Begin, UTC <input required class="mono" pattern=${PATTERN} title="2026-12-01 08:30" placeholder=${field(now.value + 3 * 3600e3)} value=${begin} onInput=${(e) => { setBegin(e.target.value); setFound(null); }} /></label>
      <label class="field">End, UTC <input required class="mono" pattern=${PATTERN} title="2026-12-01 14:30" placeholder=${field(now.value + 9 * 3600e3)} value=${end} onInput=${(e) => { setEnd(e.target.value); setFound(null); }} /></label>
      <p class="dim">Tracking; set-up and tear-down come on top. Planned until ${minute(all?.horizon_end_ms ?? 0)}.</p>
      <button class="primary" type="submit" disabled=${!antenna || !(read(end) > read(begin))}>What if</button></form></section>
    <div class="stack">${found && html`<${Result} found=${found} wanted=${wanted} done=${done} key=${JSON.stringify(wanted)} />`}
    <section class="panel" aria-label="Proposals"><h2>Free of others${antenna ? `: ${antenna}` : ", antennas not in the plan"}</h2><${Free} views=${views} antenna=${antenna} take=${take} /></section></div></div>`;
}
