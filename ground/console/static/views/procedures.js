// Operators' procedures: start, and what each run does, waits for and asks.
import { api, attempt, html, may, until, useLoad, useState } from "../lib.js";
import { now } from "../live.js";

export function Procedures() {
  const [tick, setTick] = useState(0), [name, setName] = useState(""), [values, setValues] = useState({}), [open, setOpen] = useState(null);
  const [library] = useLoad(() => api("GET", "/procedures"), 0);
  const [runs, error] = useLoad(() => api("GET", "/runs?last=30"), 1500, [tick]);
  const [shown] = useLoad(() => (open ? api("GET", `/runs/${open}`) : Promise.resolve(null)), 2000, [open, tick]);
  const one = library?.procedures.find((p) => p.name === name), t = now.value;
  const change = async (run, action, more = {}) => { if (await attempt(() => api("POST", `/runs/${run}`, { action, ...more }))) setTick(tick + 1); };
  const given = () => Object.fromEntries(Object.entries(values).filter(([, v]) => v !== "").map(([k, v]) => [k, v !== "" && !isNaN(v) ? Number(v) : v]));
  const start = async (step) => { if (await attempt(() => api("POST", "/runs", { procedure: name, arguments: given(), step }))) { setValues({}); setTick(tick + 1); } };
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}
  <div class="grid" style="grid-template-columns: minmax(20rem, 1fr) 2fr"><section class="panel" aria-label="Start a procedure"><h2>Start</h2>
    <label class="field">Procedure <select value=${name} onChange=${(e) => setName(e.target.value)}><option value="">choose</option>${(library?.procedures ?? []).map((p) => html`<option>${p.name}</option>`)}</select></label>
    ${one && html`<p>${one.description}</p>${one.arguments.map((a) => html`<label class="field">${a.name} <input placeholder=${a.default ?? ""} title=${a.allowed} value=${values[a.name] ?? ""} onInput=${(e) => setValues({ ...values, [a.name]: e.target.value })} /><span></span><span class="dim">${a.description}: ${a.allowed}</span></label>`)}
      ${may("operator") && html`<div class="row"><button class="danger" onClick=${() => start(false)}>Start</button><button onClick=${() => start(true)}>One step</button></div>`}`}
    ${(library?.problems ?? []).map((p) => html`<p class="warning">${p}</p>`)}</section>
  <div><section class="panel"><h2>Runs</h2><table aria-label="Runs"><thead><tr><th>#</th><th>procedure</th><th>state</th><th>does</th><th></th></tr></thead><tbody>
    ${(runs ?? []).slice().reverse().map((r) => html`<tr key=${r.number} tabindex="0" onClick=${() => setOpen(r.number)}><td class="num">${r.number}</td><td>${r.procedure}<div class="dim">${r.actor}</div></td>
      <td><span class=${"tag " + (r.state === "completed" ? "nominal" : r.state === "failed" ? "critical" : r.state === "asking" ? "warning" : "")}>${r.state}</span></td>
      <td>${r.doing}<div class="dim">${r.waits_for} ${r.deadline_ms ? until(r.deadline_ms, t) : ""}</div>${r.question && html`<p><b>${r.question}</b></p>`}${r.reason}</td>
      <td onClick=${(e) => e.stopPropagation()}>${may("operator") && html`${(r.choices ?? []).map((c) => html`<button class="primary" onClick=${() => change(r.number, "answer", { choice: c })}>${c}</button> `)}
        ${["running", "waiting", "asking"].includes(r.state) && html`<button onClick=${() => change(r.number, "pause")}>Pause</button> `}
        ${r.state === "paused" && html`<button onClick=${() => change(r.number, "resume")}>Resume</button> <button onClick=${() => change(r.number, "step")}>Step</button> `}
        ${!["completed", "failed", "aborted", "ended"].includes(r.state) && html`<button onClick=${() => confirm("Abort? What it has sent stays sent.") && change(r.number, "abort")}>Abort</button>`}`}</td></tr>`)}</tbody></table></section>
    ${shown && html`<section class="panel" aria-label=${`Run ${open}`}><h2>Run ${open} ${shown.procedure}</h2>${shown.records.map((r) => html`<div class="hex">${r}</div>`)}</section>`}</div></div>`;
}
