//! Which addresses a hook may lead to: those of the internet, unless the operator lists the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Public,
    /// Of this machine or its network: only where the host is listed by its full name.
    Private,
    /// Never meant by a name: link-local ones, where clouds keep their credentials, groups, and what has no place. Only where
    /// the address itself is listed.
    Special,
}

pub(super) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_of_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| class_of_v6(address), class_of_v4),
    }
}

fn class_of_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    let special = address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b & 0xfe) == 18);
    if special {
        Class::Special
    } else if address.is_private() || address.is_loopback() || (a == 100 && (b & 0xc0) == 64) {
        Class::Private
    } else {
        Class::Public
    }
}

fn class_of_v6(address: Ipv6Addr) -> Class {
    let [first, second, ..] = address.segments();
    if address.is_loopback() || (first & 0xfe00) == 0xfc00 {
        return Class::Private;
    }
    // 2000::/3 is what was given out; of it, 2001::/23 and 2001:db8::/32 lead nowhere.
    let given = (first & 0xe000) == 0x2000 && !(first == 0x2001 && (second < 0x200 || second == 0xdb8));
    if given && first != 0x3fff { Class::Public } else { Class::Special }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (RFC 6052) and 6to4 ones.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(of(high, low))
        }
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, class};

    #[test]
    fn addresses_that_are_not_of_the_internet_are_told_apart() {
        let check = |class_of: Class, addresses: &[&str]| {
            for address in addresses {
                assert_eq!(class(address.parse().unwrap()), class_of, "{address}");
            }
        };
        check(
            Class::Public,
            &["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808"],
        );
        check(
            Class::Private,
            &["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1"],
        );
        check(Class::Private, &["fd00::1", "::ffff:127.0.0.1", "::ffff:10.1.1.1", "64:ff9b::7f00:1", "2002:7f00:1::"]);
        check(
            Class::Special,
            &["169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.0.1"],
        );
        check(
            Class::Special,
            &["::", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "::ffff:169.254.169.254"],
        );
        check(Class::Special, &["192.0.2.1", "203.0.113.9", "100::1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"]);
    }
}
