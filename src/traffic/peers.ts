// Peers whose word counts: a list of addresses and networks.
import net from 'node:net';

/** Test for addresses in `networks` (`10.0.0.0/8`, `::1`). IPv4 in IPv6 clothes counts as IPv4. */
export function peerList(networks: readonly string[]): (address: string) => boolean {
  // Asked for every request.
  if (networks.length === 0) return () => false;
  const list = new net.BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = net.isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return address => {
    const plain = plainAddress(address);
    return net.isIP(plain) !== 0 && list.check(plain, net.isIPv6(plain) ? 'ipv6' : 'ipv4');
  };
}

/** `::ffff:192.0.2.1`, as dual-stack listeners report it, is 192.0.2.1. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  return mapped ?? address;
}
