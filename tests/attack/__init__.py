"""A bounded attack on a local stack: hostile heads, bodies, links, hosts and keys; see docs/attack.md."""
