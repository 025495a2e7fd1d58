// ISA-18.2: an alarm stays until it is acknowledged and its cause has gone; it can be shelved, with a reason.
import { api, attempt, clock, html, may, near, signal, until, useState } from "../lib.js";
import { alarms, now } from "../live.js";

const sound = signal(false);
let context = null, sounded = 0;
// One short tone when an alarm is new, in whatever view, if somebody has asked for it.
export function tone(count) {
  if (!sound.peek() || count <= sounded) { sounded = count; return; }
  sounded = count;
  context ??= new AudioContext();
  const o = context.createOscillator(), g = context.createGain();
  o.frequency.value = 880; g.gain.value = 0.08;
  o.connect(g).connect(context.destination); o.start(); o.stop(context.currentTime + 0.25);
}

function Shelve({ alarm, close }) {
  const [minutes, setMinutes] = useState(60), [reason, setReason] = useState("");
  const send = async (e) => {
    e.preventDefault();
    if (await attempt(() => api("POST", `/alarms/${encodeURIComponent(alarm.name)}/shelve`, { minutes: Number(minutes), reason }))) close();
  };
  return html`<div class="veil"><form class="dialog" role="dialog" aria-label=${`Shelve ${alarm.name}`} onSubmit=${send}>
    <h2>Shelve ${alarm.name}</h2>
    <label class="field">Minutes <input type="number" min="1" max="1440" value=${minutes} onInput=${(e) => setMinutes(e.target.value)} /></label>
    <label class="field">Reason <input required value=${reason} onInput=${(e) => setReason(e.target.value)} autofocus /></label>
    <div class="row"><button class="primary">Shelve</button><button type="button" onClick=${close}>Leave it</button></div></form></div>`;
}

export function Alarms() {
  const t = now.value, [shelving, setShelving] = useState(null);
  const operator = may("operator");
  const act = (a, what) => attempt(() => api("POST", `/alarms/${encodeURIComponent(a.name)}/${what}`));
  const loud = alarms.value.filter((a) => a.state === "unacknowledged" || a.state === "returned");
  return html`<div class="row"><button disabled=${!operator || !loud.length} onClick=${() => loud.forEach((a) => act(a, "acknowledge"))}>Acknowledge all ${loud.length || ""}</button>
    <label><input type="checkbox" checked=${sound.value} onChange=${(e) => (sound.value = e.target.checked)} /> sound</label>
    <span class="dim">Only live data raises an alarm; stored data that is played back never does.</span></div>
  <section class="panel"><table aria-label="Alarms"><thead><tr><th>state</th><th>severity</th><th>alarm</th><th>what</th><th>value</th><th>raised (SCET)</th><th>since</th><th>times</th><th></th></tr></thead>
    <tbody>${alarms.value.map((a) => html`<tr key=${a.name}>
      <td>${a.state}${a.active ? "" : ", gone"}${a.shelved_until ? html`<div class="dim">until ${clock(a.shelved_until)}, ${a.shelved_by}: ${a.reason}</div>` : ""}</td>
      <td><span class=${"tag " + a.severity}>${a.severity}</span></td><td><a href=${`#plots/${a.name}`}>${a.name}</a></td><td>${a.text}</td><td class="num">${a.value}</td>
      <td class="num">${near(a.raised, t)}</td><td class="num">${until(a.since, t)}</td><td class="num">${a.count}</td>
      <td class="keep">${operator && html`
        ${["unacknowledged", "returned"].includes(a.state) && html`<button class="small" onClick=${() => act(a, "acknowledge")}>Acknowledge</button>`}
        ${a.state === "shelved" ? html` <button class="small" onClick=${() => act(a, "unshelve")}>Unshelve</button>` : html` <button class="small" onClick=${() => setShelving(a)}>Shelve…</button>`}`}
        ${a.acknowledged_by && html`<div class="dim">seen by ${a.acknowledged_by}</div>`}</td></tr>`)}
    ${alarms.value.length === 0 && html`<tr><td colspan="9" class="nominal">No alarms.</td></tr>`}</tbody></table></section>
  ${shelving && html`<${Shelve} alarm=${shelving} close=${() => setShelving(null)} />`}`;
}
