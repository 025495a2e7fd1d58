// Bundles: what the site's node holds, for whom, how old; and the contact plan it follows.
import { api, html, number, useLoad } from "../lib.js";
import { parameters } from "../live.js";

function Tree({ value }) {
  if (Array.isArray(value)) return html`<table><tbody>${value.slice(0, 100).map((v) => html`<tr><td><${Tree} value=${v} /></td></tr>`)}</tbody></table>`;
  if (value !== null && typeof value === "object") return html`<table><tbody>${Object.entries(value).map(([k, v]) => html`<tr><td class="dim">${k}</td><td><${Tree} value=${v} /></td></tr>`)}</tbody></table>`;
  return html`<span class="mono">${number(value)}</span>`;
}

function List({ rows, label }) {
  if (!rows?.length) return html`<p class="dim">none</p>`;
  const columns = Object.keys(rows[0]).filter((c) => typeof rows[0][c] !== "object" || rows[0][c] === null);
  return html`<table aria-label=${label}><thead><tr>${columns.map((c) => html`<th>${c.replaceAll("_", " ")}</th>`)}</tr></thead><tbody>
    ${rows.slice(0, 200).map((r) => html`<tr>${columns.map((c) => html`<td class=${typeof r[c] === "number" ? "num" : ""}>${number(r[c] ?? "")}</td>`)}</tr>`)}</tbody></table>`;
}

const rows = (value, ...names) => (Array.isArray(value) ? value : names.map((n) => value?.[n]).find(Array.isArray) ?? []);

export function Relay() {
  const [status, error] = useLoad(() => api("GET", "/relay"), 2000);
  const [held] = useLoad(() => api("GET", "/relay/held"), 3000);
  const [contacts] = useLoad(() => api("GET", "/relay/contacts"), 10000);
  const block = parameters.value.RELAY;
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}<div class="grid">
    <section class="panel" aria-label="Node"><h2>The site's node</h2><${Tree} value=${status} /></section>
    ${block && html`<section class=${"panel" + (block.stale ? " stale" : "")} aria-label="On board"><h2>On board ${block.stale ? html`<span class="tag warning">STALE</span>` : ""}</h2>
      <table><tbody>${Object.entries(block.values).map(([n, [v, unit]]) => html`<tr><td>${n}</td><td class="num">${number(v)} ${unit}</td></tr>`)}</tbody></table></section>`}</div>
    <section class="panel"><h2>Bundles held here</h2><${List} rows=${rows(held, "held", "bundles")} label="Bundles held" /></section>
    <section class="panel"><h2>Contact plan</h2><${List} rows=${rows(contacts, "contacts")} label="Contacts" /></section>`;
}
