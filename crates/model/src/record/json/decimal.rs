//! Exact decimals as text: an integer of up to 256 bits with its point put in.

use arrow::datatypes::i256;

use super::error::Why;

/// Digits of one division of a 256-bit integer.
const PART_DIGITS: usize = 38;
const PART: i256 = i256::from_i128(10_i128.pow(38));

/// Writes `value / 10^scale` with exactly `scale` decimals.
pub(super) fn write_i128(out: &mut Vec<u8>, value: i128, scale: usize) {
    let mut buffer = itoa::Buffer::new();
    let magnitude = value.unsigned_abs();
    let digits = match u64::try_from(magnitude) {
        Ok(short) => buffer.format(short),
        Err(_) => buffer.format(magnitude),
    };
    write_digits(out, value < 0, digits.as_bytes(), scale);
}

/// Writes `value / 10^scale` with exactly `scale` decimals.
pub(super) fn write_i256(out: &mut Vec<u8>, value: i256, scale: usize) {
    if let Some(value) = value.to_i128() {
        return write_i128(out, value, scale);
    }
    // 256 bits are at most 77 digits: three parts.
    let mut digits = [b'0'; 3 * PART_DIGITS];
    let mut rest = value;
    for part in digits.chunks_exact_mut(PART_DIGITS).rev() {
        let (quotient, remainder) = rest.wrapping_div_rem(PART);
        let magnitude = remainder
            .to_i128()
            .expect("a remainder is below 10^38")
            .unsigned_abs();
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(magnitude).as_bytes();
        part[PART_DIGITS - text.len()..].copy_from_slice(text);
        rest = quotient;
    }
    let start = digits
        .iter()
        .position(|digit| *digit != b'0')
        .unwrap_or(digits.len() - 1);
    write_digits(out, value.is_negative(), &digits[start..], scale);
}

fn write_digits(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: usize) {
    if negative {
        out.push(b'-');
    }
    if scale == 0 {
        return out.extend_from_slice(digits);
    }
    let whole = digits.len().saturating_sub(scale);
    if whole == 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
    }
    out.extend_from_slice(&digits[whole..]);
}

/// Writes an integer of any length (big endian, two's complement) divided by `10^scale`, exactly.
pub(super) fn write_unscaled(out: &mut Vec<u8>, bytes: &[u8], scale: i32) {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    // The magnitude in words, the lowest first.
    let mut words: Vec<u32> = bytes
        .rchunks(4)
        .map(|chunk| {
            let extend = if negative { u32::MAX } else { 0 };
            chunk
                .iter()
                .fold(extend, |word, byte| word << 8 | u32::from(*byte))
        })
        .collect();
    if negative {
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
        // Only the lowest number of a length loses its sign here; its magnitude needs the carry.
        if carry {
            words.push(1);
        }
    }
    let mut digits = Vec::new();
    while words.iter().any(|word| *word != 0) {
        let mut rest = 0_u64;
        for word in words.iter_mut().rev() {
            let part = rest << 32 | u64::from(*word);
            *word = u32::try_from(part / PART9).expect("a quotient is below 2^32");
            rest = part % PART9;
        }
        while words.last() == Some(&0) {
            words.pop();
        }
        for _ in 0..9 {
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    digits.reverse();
    // A negative scale counts zeros at the end of the whole number.
    let zeros = usize::try_from(-i64::from(scale)).unwrap_or(0);
    if digits.is_empty() {
        digits.push(b'0');
    } else {
        digits.resize(digits.len() + zeros, b'0');
    }
    write_digits(out, negative, &digits, usize::try_from(scale).unwrap_or(0));
}

/// The same integer in as few bytes as hold its sign.
pub(super) fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let is_sign = (*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80);
        if !is_sign {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

/// Reads a decimal's text into its integer (big endian, two's complement) and its scale; `None` for
/// a text that is no number, such as `NaN`.
pub(super) fn unscaled(text: &str) -> Option<(Vec<u8>, usize)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = || whole.bytes().chain(decimals.bytes());
    if !digits().all(|digit| digit.is_ascii_digit()) || digits().next().is_none() {
        return None;
    }
    // The magnitude in bytes, the lowest first.
    let mut bytes = vec![0_u8];
    for digit in digits() {
        let mut carry = u16::from(digit - b'0');
        for byte in &mut bytes {
            let product = u16::from(*byte) * 10 + carry;
            *byte = (product & 0xff) as u8;
            carry = product >> 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    // One more byte has the sign.
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    bytes.reverse();
    Some((shortest(&bytes).to_vec(), decimals.len()))
}

/// Nine digits of a division by a machine word.
const PART9: u64 = 1_000_000_000;

/// The largest exponent of a number that is written out.
const EXPONENT_MAX: i64 = 1_000;

/// Writes a JSON number without exponent and without zeros at its end.
pub(super) fn write_plain(out: &mut Vec<u8>, number: &[u8]) -> Result<(), Why> {
    let end = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = number.split_at(end.unwrap_or(number.len()));
    let exponent = match exponent {
        [] => 0,
        [_, b'+', digits @ ..] | [_, digits @ ..] => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok())
            .filter(|exponent| exponent.abs() <= EXPONENT_MAX)
            .ok_or(Why::OutOfRange)?,
    };
    let (negative, mantissa) = match mantissa {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, mantissa),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let decimals = point.map_or(0, |point| mantissa.len() - point - 1);
    let mut digits: Vec<u8> = mantissa
        .iter()
        .copied()
        .filter(|byte| *byte != b'.')
        .collect();
    let mut scale = decimals as i64 - exponent;
    while scale > 0 && digits.last() == Some(&b'0') {
        digits.pop();
        scale -= 1;
    }
    while scale < 0 {
        digits.push(b'0');
        scale += 1;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = &digits[zeros.min(digits.len().saturating_sub(1))..];
    let is_zero = digits.iter().all(|digit| *digit == b'0');
    let scale = if is_zero { 0 } else { scale };
    let digits = if is_zero { b"0" } else { digits };
    write_digits(out, negative && !is_zero, digits, scale as usize);
    Ok(())
}

/// The digits of a decimal's text, found to fit a type.
#[derive(Debug, Clone, Copy)]
struct Digits<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a [u8],
    decimals: &'a [u8],
    /// The number of zeros to append to the decimals, up to the scale.
    zeros: usize,
}

/// Reads `-12.30` into 128 bits (precision of at most 38); more decimals than `scale` are refused,
/// even zeros.
pub(super) fn parse_i128(text: &[u8], precision: usize, scale: usize) -> Result<i128, Why> {
    let digits = Digits::split(text, precision, scale)?;
    // 18 digits fit into one machine word.
    let magnitude = if precision <= 18 {
        i128::from(
            digits
                .each()
                .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit)),
        )
    } else {
        digits
            .each()
            .fold(0_i128, |sum, digit| sum * 10 + i128::from(digit))
    };
    Ok(if digits.negative {
        -magnitude
    } else {
        magnitude
    })
}

/// Reads `-12.30` into 256 bits (precision of at most 76); more decimals than `scale` are refused,
/// even zeros.
pub(super) fn parse_i256(text: &[u8], precision: usize, scale: usize) -> Result<i256, Why> {
    let digits = Digits::split(text, precision, scale)?;
    let (mut high, mut low) = (0_i128, 0_i128);
    // Two sums of 38 digits each in 128 bits are much faster than one in 256.
    let low_from = digits.len().saturating_sub(PART_DIGITS);
    for (at, digit) in digits.each().enumerate() {
        let part = if at < low_from { &mut high } else { &mut low };
        *part = *part * 10 + i128::from(digit);
    }
    let magnitude = i256::from_i128(high)
        .wrapping_mul(PART)
        .wrapping_add(i256::from_i128(low));
    Ok(if digits.negative {
        magnitude.wrapping_neg()
    } else {
        magnitude
    })
}

impl<'a> Digits<'a> {
    fn split(text: &'a [u8], precision: usize, scale: usize) -> Result<Self, Why> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let point = text.iter().position(|byte| *byte == b'.');
        let (whole, decimals) = point.map_or((text, &[][..]), |point| {
            (&text[..point], &text[point + 1..])
        });
        let numeric = whole.iter().chain(decimals).all(u8::is_ascii_digit);
        if !numeric || whole.is_empty() || point.is_some() && decimals.is_empty() {
            return Err(Why::Malformed);
        }
        let zeros = scale.checked_sub(decimals.len()).ok_or(Why::Decimals)?;
        // Zeros in front are no digits of the precision.
        let leading = whole.iter().take_while(|digit| **digit == b'0').count();
        let whole = &whole[leading..];
        if whole.len() > precision - scale {
            return Err(Why::OutOfRange);
        }
        Ok(Self {
            negative,
            whole,
            decimals,
            zeros,
        })
    }

    fn len(self) -> usize {
        self.whole.len() + self.decimals.len() + self.zeros
    }

    fn each(self) -> impl Iterator<Item = u8> {
        let written = self
            .whole
            .iter()
            .chain(self.decimals)
            .map(|digit| digit - b'0');
        written.chain(std::iter::repeat_n(0, self.zeros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_its_scale() {
        for (value, scale, expected) in [
            (22_000, 2, "220.00"),
            (-5, 2, "-0.05"),
            (0, 2, "0.00"),
            (7, 0, "7"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
        ] {
            let mut out = Vec::new();
            write_i128(&mut out, value, scale);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn an_unscaled_integer_of_any_length_is_a_decimal() {
        let text = |bytes: &[u8], scale| {
            let mut out = Vec::new();
            write_unscaled(&mut out, bytes, scale);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[], 2), "0.00");
        assert_eq!(text(&[0x55, 0xf0], 2), "220.00");
        assert_eq!(text(&[0xff], 2), "-0.01");
        assert_eq!(text(&[0x80], 0), "-128");
        assert_eq!(text(&[0x80, 0, 0, 0], 0), "-2147483648");
        assert_eq!(text(&[0xff, 0, 0, 0, 0], 0), "-4294967296");
        assert_eq!(text(&[0, 0xff, 0xff, 0xff, 0xff], -2), "429496729500");
        assert_eq!(text(&[0; 40], -2), "0");
        for value in [i128::MIN, i128::MAX, -1, 0, 1, 10_i128.pow(20)] {
            assert_eq!(text(&value.to_be_bytes(), 0), value.to_string());
        }
        let long = [[0x7f].as_slice(), &[0xff; 31]].concat();
        let expected =
            "57896044618658097711785492504343953926634992332820282019728792003956564819967";
        assert_eq!(text(&long, 0), expected);
    }

    #[test]
    fn a_text_of_any_length_reads_back_from_its_integer() {
        let long = format!("-{}.{}", "9".repeat(90), "01".repeat(20));
        for text in [
            "0",
            "-1",
            "127",
            "128",
            "-128",
            "-129",
            "1.50",
            "0.00",
            "65536.255",
            &long,
        ] {
            let (bytes, scale) = unscaled(text).unwrap();
            let mut out = Vec::new();
            write_unscaled(&mut out, &bytes, i32::try_from(scale).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        assert_eq!(unscaled("-128").unwrap().0, [0x80]);
        assert_eq!(unscaled("128").unwrap().0, [0, 0x80]);
        assert_eq!(unscaled("NaN"), None);
        assert_eq!(unscaled(""), None);
    }

    #[test]
    fn a_number_is_written_without_its_exponent() {
        for (number, expected) in [
            ("220.0", "220"),
            ("1.0E10", "10000000000"),
            ("1.234567890123456E13", "12345678901234.56"),
            ("-1.5e-7", "-0.00000015"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("0.10", "0.1"),
            ("100", "100"),
            ("0e5", "0"),
        ] {
            let mut out = Vec::new();
            write_plain(&mut out, number.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        assert!(write_plain(&mut Vec::new(), b"1e1001").is_err());
    }

    #[test]
    fn a_decimal_that_does_not_fit_is_refused_and_never_rounded() {
        assert_eq!(parse_i128(b"220.005", 10, 2), Err(Why::Decimals));
        assert_eq!(parse_i128(b"220.000", 10, 2), Err(Why::Decimals));
        assert_eq!(parse_i128(b"100000000.00", 10, 2), Err(Why::OutOfRange));
        assert_eq!(parse_i128(b"-99999999.99", 10, 2), Ok(-9_999_999_999));
        assert_eq!(parse_i128(b"220", 10, 2), Ok(22_000));
        for text in [
            "", "-", ".5", "5.", "1e2", "NaN", "1,5", "+1", " 1", "--1", "1.2.3",
        ] {
            assert_eq!(
                parse_i128(text.as_bytes(), 10, 2),
                Err(Why::Malformed),
                "{text}"
            );
        }
    }
}
