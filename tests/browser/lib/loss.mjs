// Packet loss on loopback, by a netfilter table that is there only while a test wants it.

import { execFileSync, spawnSync } from 'node:child_process';

const TABLE = `weir_test_${process.pid}`;

function nft(...words) {
  execFileSync('nft', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Whether this machine lets us add netfilter rules. */
export function nftWorks() {
  const made = spawnSync('nft', ['add', 'table', 'inet', TABLE]).status === 0;
  if (made) removeTable();
  return made;
}

function removeTable() {
  spawnSync('nft', ['delete', 'table', 'inet', TABLE]);
}

/** Drops `percent` of the UDP packets from one local port, or from any, to another; gives the function that ends it. */
export function dropPackets({ from, to, percent }) {
  process.once('exit', removeTable);
  nft('add', 'table', 'inet', TABLE);
  // On the way in: a packet that is dropped on the way out is an error to its sender, and FFmpeg ends at that.
  nft('add', 'chain', 'inet', TABLE, 'in', '{ type filter hook input priority 0; }');
  const ports = [...(from ? ['udp', 'sport', String(from)] : []), 'udp', 'dport', String(to)];
  const some = percent < 100 ? ['numgen', 'random', 'mod', '100', '<', String(percent)] : [];
  nft('add', 'rule', 'inet', TABLE, 'in', ...ports, ...some, 'counter', 'drop');
  return () => {
    const rules = execFileSync('nft', ['list', 'table', 'inet', TABLE], { encoding: 'utf8' });
    removeTable();
    const dropped = Number(/counter packets (\d+)/.exec(rules)?.[1] ?? 0);
    if (dropped === 0) throw new Error(`no packet from port ${from ?? 'any'} to port ${to} was dropped:\n${rules}`);
  };
}
