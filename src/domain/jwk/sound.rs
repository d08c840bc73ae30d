//! Checks that a public key is not weak: that only the holder of its private key can sign.
//!
//! Rejected: Ed25519 points of small order or in a non-canonical encoding; RSA moduli that are
//! even, a square, or divisible by a prime below [`PRIME_LIMIT`]; invalid RSA exponents. Not
//! detected, because the checks are too expensive: RSA moduli that are prime, or whose factors are
//! large but weak in other ways. This gains an attacker nothing: the publisher of a key set could
//! publish the private keys as well. aws-lc rejects points that are not on their elliptic curve.

use std::iter;

/// RSA moduli are divided by every odd prime below this.
const PRIME_LIMIT: u32 = 2048;

/// The y coordinates of the eight Ed25519 points of small order, in little-endian order. Points
/// with the same y coordinate differ only in the sign of x.
const SMALL_ORDER: [[u8; 32]; 5] = [
    // The identity: with it, one constant signature is valid for every message.
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    // Order 2: y = -1.
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    // Order 4: y = 0.
    [0; 32],
    // Order 8.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether an encoded Ed25519 point (RFC 8032 section 5.1.2) has order 1, 2, 4 or 8.
pub fn has_small_order(point: &[u8]) -> bool {
    let same = |y: &[u8; 32]| y.iter().copied().eq(y_coordinate(point));
    SMALL_ORDER.iter().any(same)
}

/// Whether the y coordinate of an encoded Ed25519 point is reduced: less than 2^255 - 19.
pub fn is_canonical(point: &[u8]) -> bool {
    let mut y = y_coordinate(point);
    let least = y.next().unwrap_or_default();
    let highest = iter::repeat_n(0xff, 30).chain([0x7f]);
    least < 0xed || !y.eq(highest)
}

/// The 255 bits of y; the last bit is the sign of x.
fn y_coordinate(point: &[u8]) -> impl Iterator<Item = u8> {
    let last = point.len().saturating_sub(1);
    point.iter().enumerate().map(move |(at, byte)| if at == last { byte & 0x7f } else { *byte })
}

/// Whether an RSA modulus, in big-endian order, is even, has a small factor, or is a square. Such a
/// modulus is easy to factor, and its factors give the private key.
pub fn is_weak_modulus(modulus: &[u8]) -> bool {
    if modulus.last().is_none_or(|byte| byte & 1 == 0) {
        return true;
    }
    // A square is a square modulo every prime. Any other number fails this for some small prime.
    let mut square = true;
    let mut primes = (3..PRIME_LIMIT).step_by(2).filter(|number| is_prime(*number)).peekable();
    while let Some(first) = primes.next() {
        // One long division covers several primes.
        let (mut group, mut product) = (vec![first], first);
        while let Some(next) = primes.peek().and_then(|prime| product.checked_mul(*prime)) {
            product = next;
            group.extend(primes.next());
        }
        let rest = remainder(modulus, product);
        for prime in group {
            if rest.is_multiple_of(prime) {
                return true;
            }
            square = square && is_square(rest % prime, prime);
        }
    }
    square
}

fn is_prime(odd: u32) -> bool {
    (3..).step_by(2).take_while(|factor| factor * factor <= odd).all(|it| !odd.is_multiple_of(it))
}

/// The remainder of a number in big-endian order.
fn remainder(number: &[u8], divisor: u32) -> u32 {
    let mut rest = 0_u64;
    for chunk in number.chunks(4) {
        for byte in chunk {
            rest = rest << 8 | u64::from(*byte);
        }
        // Now less than 2^32, so that four more octets fit.
        rest %= u64::from(divisor);
    }
    u32::try_from(rest).unwrap_or_default()
}

/// Whether a number is a square modulo a prime that does not divide it (Euler's criterion).
fn is_square(number: u32, prime: u32) -> bool {
    let prime = u64::from(prime);
    let (mut result, mut power, mut exponent) = (1, u64::from(number), (prime - 1) / 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * power % prime;
        }
        power = power * power % prime;
        exponent >>= 1;
    }
    result == 1
}

/// Whether an RSA exponent, in big-endian order without leading zeros, is odd, at least 3, and no
/// longer than 33 bits, the maximum that aws-lc supports.
pub fn is_exponent(exponent: &[u8]) -> bool {
    let odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
    let short = match exponent {
        [first, _, _, _, _] => *first == 1,
        longer_or_shorter => longer_or_shorter.len() < 5,
    };
    odd && short && exponent != [1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^255 - 19 + `more`, with this sign of x.
    fn above_p(more: u8, sign: u8) -> [u8; 32] {
        let mut point = [0xff; 32];
        point[0] = 0xed + more;
        point[31] = 0x7f | sign;
        point
    }

    #[test]
    fn detects_points_of_small_order() {
        for point in SMALL_ORDER {
            let mut mirrored = point;
            mirrored[31] |= 0x80;
            assert!(has_small_order(&point) && is_canonical(&point), "{point:x?}");
            assert!(has_small_order(&mirrored) && is_canonical(&mirrored), "{point:x?}");
            let mut other = point;
            other[7] ^= 1;
            assert!(!has_small_order(&other), "{other:x?}");
        }
        for more in 0..=18 {
            for sign in [0, 0x80] {
                assert!(!is_canonical(&above_p(more, sign)), "p + {more}");
            }
        }
        let mut below = above_p(0, 0);
        below[0] -= 2;
        assert!(is_canonical(&below) && !has_small_order(&below));
    }

    fn odd_number(length: usize) -> Vec<u8> {
        // Whether this is prime does not matter here: the tests are about arithmetic only.
        let mut number = vec![0x5b; length];
        number[0] = 0xc7;
        number[length - 1] |= 1;
        number
    }

    #[test]
    fn remainders_of_long_numbers() {
        assert_eq!(remainder(&[1, 0, 0, 0, 0], 97), 35); // 2^32
        for length in [1, 3, 4, 5, 8, 11] {
            let number = odd_number(length);
            let small = number.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
            for divisor in [3, 97, 65_537, u32::MAX] {
                let expected = u32::try_from(small % u128::from(divisor)).unwrap();
                assert_eq!(remainder(&number, divisor), expected, "{length} {divisor}");
            }
        }
    }

    /// Multiplies a number in big-endian order.
    fn times(number: &[u8], factor: u32) -> Vec<u8> {
        let mut carry = 0_u64;
        let mut product = Vec::new();
        for byte in number.iter().rev() {
            carry += u64::from(*byte) * u64::from(factor);
            product.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
        while carry > 0 {
            product.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
        product.reverse();
        product
    }

    fn square(number: &[u8]) -> Vec<u8> {
        let mut digits = vec![0_u64; number.len() * 2];
        for (i, a) in number.iter().rev().enumerate() {
            for (j, b) in number.iter().rev().enumerate() {
                digits[i + j] += u64::from(*a) * u64::from(*b);
            }
        }
        let mut carry = 0;
        let bytes = digits.iter().map(|digit| {
            carry += digit;
            let byte = carry.to_le_bytes()[0];
            carry >>= 8;
            byte
        });
        let mut bytes: Vec<_> = bytes.collect();
        bytes.reverse();
        bytes
    }

    #[test]
    fn detects_weak_moduli() {
        use crate::domain::algorithm::Algorithm;
        use crate::domain::signing::SigningKey;
        use base64::Engine as _;
        let jwk = SigningKey::generate(Algorithm::RS256).unwrap().public_jwk();
        let good = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwk.n.unwrap()).unwrap();
        assert!(!is_weak_modulus(&good));
        for factor in [2, 3, 5, 7, 251, 257, 2039] {
            assert!(is_weak_modulus(&times(&good, factor)), "{factor}");
        }
        assert!(!is_weak_modulus(&times(&good, 2053)), "the limit");
        assert!(is_weak_modulus(&square(
            &good[..128].iter().copied().chain([1]).collect::<Vec<_>>()
        )));
        // A square without small factors: the square of the modulus itself.
        assert!(is_weak_modulus(&square(&good)));
        assert!(is_weak_modulus(&[]) && is_weak_modulus(&[0]));
    }

    #[test]
    fn bounds_of_exponents() {
        for good in [&[3][..], &[5], &[1, 0, 1], &[0xff; 4], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(is_exponent(good), "{good:?}");
        }
        for bad in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
            assert!(!is_exponent(bad), "{bad:?}");
        }
    }
}
