/**
 * Starting a component again. The admin token is asked for once and is kept in this page's memory: it is in no storage,
 * and gone when the page is.
 *
 * @module operate/reconnect
 */

import { at, byId } from '../dom.js';

export class Reconnect {
  #token = '';
  #name = '';
  #dialog = /** @type {HTMLDialogElement} */ (byId('admin'));
  #input = /** @type {HTMLInputElement} */ (byId('admin-token'));
  #words = byId('admin-words');
  #said = byId('said');

  constructor() {
    byId('admin-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#token = this.#input.value;
      this.#input.value = '';
      this.#post();
    });
    byId('admin-cancel').addEventListener('click', () => this.#dialog.close());
    byId('admin-forget').addEventListener('click', () => {
      this.#token = '';
      this.#say('The admin token is forgotten.');
    });
    this.#known();
  }

  /** Ask the daemon to start this component again. @param {string} name */
  of(name) {
    this.#name = name;
    if (this.#token) this.#post();
    else this.#ask('This needs the admin token. It is kept until this page is closed, and not stored.');
  }

  /** @param {string} words */
  #ask(words) {
    this.#words.textContent = words;
    byId('admin-title').textContent = `Reconnect ${this.#name}`;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#input.focus();
  }

  async #post() {
    const name = this.#name;
    let answer;
    try {
      answer = await fetch(at(`/components/${encodeURIComponent(name)}/reconnect`), { method: 'POST', headers: { Authorization: `Bearer ${this.#token}` } });
    } catch {
      this.#dialog.close();
      this.#say(`${name}: the daemon does not answer.`);
      return;
    }
    const body = await answer.json().catch(() => null);
    if (answer.status === 401) {
      this.#token = '';
      this.#known();
      this.#ask('That was not the admin token of this daemon.');
      return;
    }
    this.#dialog.close();
    if (!answer.ok) this.#token = '';
    this.#say(String(body?.message ?? body?.error?.message ?? `the daemon answered ${answer.status}`));
  }

  #known() {
    byId('admin-forget').hidden = !this.#token;
  }

  /** @param {string} words */
  #say(words) {
    this.#known();
    this.#said.textContent = words;
    this.#said.hidden = false;
  }
}
