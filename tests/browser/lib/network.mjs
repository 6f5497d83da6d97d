// Networks that let only some of it through: netfilter rules for one port, in the network namespace that the tests run in.

import { execFileSync, spawnSync } from 'node:child_process';

const TABLE = `weir_net_${process.pid}`;

function nft(...words) {
  execFileSync('nft', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/**
 * Drops what comes to the port over these protocols (`udp`, `tcp`) from now on, silently as a firewall does; nothing else
 * is dropped any more.
 * @param {number} port
 * @param {('udp' | 'tcp')[]} protocols
 */
export function block(port, ...protocols) {
  unblock();
  process.once('exit', unblock);
  nft('add', 'table', 'inet', TABLE);
  nft('add', 'chain', 'inet', TABLE, 'in', '{ type filter hook input priority 0; }');
  for (const protocol of protocols) {
    for (const side of ['dport', 'sport']) nft('add', 'rule', 'inet', TABLE, 'in', protocol, side, String(port), 'counter', 'drop');
  }
}

/** Lets everything through again. */
export function unblock() {
  spawnSync('nft', ['delete', 'table', 'inet', TABLE]);
}
