// Who may sign in, and who did what.
import { api, attempt, html, session, useLoad, useState } from "../lib.js";

const ROLES = ["viewer", "operator", "approver", "admin"];

export function People() {
  const [tick, setTick] = useState(0), [name, setName] = useState(""), [role, setRole] = useState("operator"), [password, setPassword] = useState("");
  const [people] = useLoad(() => api("GET", "/people"), 0, [tick]);
  const did = async (work) => { if (await attempt(work)) setTick(tick + 1); };
  const add = (e) => { e.preventDefault(); did(async () => { await api("POST", "/people", { name, role, password }); setName(""); setPassword(""); return true; }); };
  return html`<div class="grid"><section class="panel"><table aria-label="People"><thead><tr><th>name</th><th>role</th><th></th></tr></thead><tbody>${(people ?? []).map((p) => html`<tr key=${p.name}><td>${p.name}</td>
      <td><select aria-label=${`Role of ${p.name}`} value=${p.role} onChange=${(e) => did(() => api("PUT", `/people/${encodeURIComponent(p.name)}/role`, { role: e.target.value }))}>${ROLES.map((r) => html`<option>${r}</option>`)}</select></td>
      <td>${p.name !== session.value.name && html`<button onClick=${() => confirm(`Remove ${p.name}?`) && did(() => api("DELETE", `/people/${encodeURIComponent(p.name)}`))}>Remove</button>`}</td></tr>`)}</tbody></table></section>
    <section class="panel"><h2>Somebody more</h2><form onSubmit=${add}><label class="field">Name <input required value=${name} onInput=${(e) => setName(e.target.value)} /></label>
      <label class="field">Role <select aria-label="Their role" value=${role} onChange=${(e) => setRole(e.target.value)}>${ROLES.map((r) => html`<option>${r}</option>`)}</select></label>
      <label class="field">Password <input type="password" autocomplete="new-password" required minlength="10" value=${password} onInput=${(e) => setPassword(e.target.value)} /></label><button class="primary">Add</button></form></section></div>`;
}

export function Audit() {
  const [found] = useLoad(() => api("GET", "/audit?last=300"), 5000);
  return html`<section class="panel"><table aria-label="Audit"><thead><tr><th>UTC</th><th>who</th><th>from</th><th>what</th><th>outcome</th><th></th></tr></thead><tbody>
    ${(found ?? []).map((a) => html`<tr><td class="num">${new Date(a.time_s * 1000).toISOString().slice(0, 19).replace("T", " ")}</td><td>${a.name}</td><td>${a.address}</td><td>${a.action}</td><td class=${a.outcome === "done" ? "nominal" : "bad"}>${a.outcome}</td><td class="dim">${a.detail}</td></tr>`)}</tbody></table></section>`;
}
