/**
 * What only an admin may ask of the daemon. The admin token is asked for once and is kept in this page's memory: it is in
 * no storage, and gone when the page is.
 *
 * @module admin
 */

import { byId } from './dom.js';

/** What the daemon said: whether it was done, the body, and words for people. @typedef {{ok: boolean, status: number, body: any, words: string}} Told */

export class Admin {
  #token = '';
  #dialog = /** @type {HTMLDialogElement} */ (byId('admin'));
  #input = /** @type {HTMLInputElement} */ (byId('admin-token'));
  /** Who waits for a token. @type {((given: boolean) => void) | null} */
  #waits = null;

  /** @param {() => void} forgot the token was forgotten by who uses the page */
  constructor(forgot) {
    byId('admin-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#token = this.#input.value;
      this.#dialog.close();
    });
    byId('admin-cancel').addEventListener('click', () => this.#dialog.close());
    // However it is closed, also by Escape: there is a token now, or there is none.
    this.#dialog.addEventListener('close', () => {
      this.#input.value = '';
      this.#known();
      this.#waits?.(this.#token !== '');
      this.#waits = null;
    });
    byId('admin-forget').addEventListener('click', () => {
      this.#token = '';
      this.#known();
      forgot();
    });
    this.#known();
  }

  /**
   * Ask the daemon, with the token; who has not said it yet is asked for it.
   *
   * @param {string} title what it is about, as the dialog's heading
   * @param {string} verb what is done, as the dialog's button
   * @param {string} path
   * @param {string} method
   * @param {object} [body]
   * @returns {Promise<Told | null>} null for who gave no token
   */
  async send(title, verb, path, method, body) {
    let why = 'This needs the admin token. It is kept until this page is closed, and not stored.';
    for (;;) {
      if (!this.#token && !(await this.#ask(title, verb, why))) return null;
      const told = await this.#fetch(path, method, body);
      if (told.status === 401 || told.status === 403) {
        this.#token = '';
        this.#known();
      }
      if (told.status !== 401) return told;
      why = 'That was not the admin token of this daemon.';
    }
  }

  /** @param {string} path @param {string} method @param {object} [body] @returns {Promise<Told>} */
  async #fetch(path, method, body) {
    let answer;
    try {
      answer = await fetch(path, { method, headers: { Authorization: `Bearer ${this.#token}` }, ...(body ? { body: JSON.stringify(body) } : {}) });
    } catch {
      return { ok: false, status: 0, body: null, words: 'the daemon does not answer' };
    }
    const found = await answer.json().catch(() => null);
    const words = String(found?.message ?? found?.error?.message ?? `the daemon answered ${answer.status}`);
    return { ok: answer.ok, status: answer.status, body: found, words };
  }

  /** @param {string} title @param {string} verb @param {string} why @returns {Promise<boolean>} whether there is a token */
  #ask(title, verb, why) {
    byId('admin-title').textContent = title;
    byId('admin-words').textContent = why;
    byId('admin-do').textContent = verb;
    // Of two who wait at once the later one is asked for; the earlier one was not given any.
    this.#waits?.(false);
    const given = new Promise((/** @type {(given: boolean) => void} */ resolve) => {
      this.#waits = resolve;
    });
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#input.focus();
    return given;
  }

  #known() {
    byId('admin-forget').hidden = !this.#token;
  }
}
