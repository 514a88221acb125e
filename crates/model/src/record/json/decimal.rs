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
