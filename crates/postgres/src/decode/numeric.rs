//! `numeric` into decimals: exact or refused, never rounded, never wrapped.
//!
//! Binary format (`numeric_send`): number of groups, weight of the first group, sign, display
//! scale, all 16 bits, then groups of four decimal digits; value = sum of `group[i] * 10000^(weight
//! - i)`. Groups of zeros at the end are left out.

use arrow::datatypes::i256;

use super::value::Misfit;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
const HEADER: usize = 8;
/// Decimal digits in a group.
const GROUP: i32 = 4;

/// What a column takes: numbers below `limit` at `scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale<M> {
    scale: i32,
    /// 10^precision.
    limit: M,
}

impl<M: Magnitude> Scale<M> {
    pub(super) fn new(precision: u8, scale: i8) -> Self {
        let limit = (0..precision)
            .try_fold(M::ONE, |limit, _| limit.push(10, 0))
            .expect("the precision is within the width");
        Self {
            scale: i32::from(scale),
            limit,
        }
    }
}

/// The value times 10^scale, for precisions up to 38.
#[inline]
pub(super) fn decimal128(bytes: &[u8], column: Scale<i128>) -> Result<i128, Misfit> {
    let number = Number::parse(bytes)?;
    // Up to 19 digits, nearly every number, one machine word is enough.
    let magnitude = match number.magnitude::<u64>(column.scale) {
        Some(small) => Some(i128::from(small)),
        None => number.magnitude::<i128>(column.scale),
    };
    match magnitude.filter(|magnitude| *magnitude < column.limit) {
        Some(magnitude) => Ok(if number.negative {
            -magnitude
        } else {
            magnitude
        }),
        None => Err(Misfit::Unfit(number.text())),
    }
}

/// The value times 10^scale, for precisions up to 76.
pub(super) fn decimal256(bytes: &[u8], column: Scale<i256>) -> Result<i256, Misfit> {
    let number = Number::parse(bytes)?;
    match number
        .magnitude::<i256>(column.scale)
        .filter(|magnitude| *magnitude < column.limit)
    {
        Some(magnitude) => Ok(if number.negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }),
        None => Err(Misfit::Unfit(number.text())),
    }
}

/// PostgreSQL's text of the value; that of what is no number is a misfit's.
#[cold]
pub(super) fn text(bytes: &[u8]) -> Result<String, Misfit> {
    Number::parse(bytes).map(|number| number.text())
}

/// A finite number in its binary form.
struct Number<'a> {
    negative: bool,
    /// The power of 10000 of the first group.
    weight: i32,
    /// Digits that PostgreSQL shows after the point.
    shown: usize,
    /// Two bytes a group.
    groups: &'a [[u8; 2]],
}

impl<'a> Number<'a> {
    #[inline]
    fn parse(bytes: &'a [u8]) -> Result<Self, Misfit> {
        let (header, digits) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Misfit::Malformed)?;
        let [count, weight, sign, shown] =
            [0, 2, 4, 6].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        let (groups, rest) = digits.as_chunks::<2>();
        if groups.len() != usize::from(count) || !rest.is_empty() {
            return Err(Misfit::Malformed);
        }
        let negative = match sign {
            POSITIVE => false,
            NEGATIVE => true,
            NAN => return Err(Misfit::Unfit("NaN".to_owned())),
            INFINITY => return Err(Misfit::Unfit("Infinity".to_owned())),
            NEGATIVE_INFINITY => return Err(Misfit::Unfit("-Infinity".to_owned())),
            _ => return Err(Misfit::Malformed),
        };
        // Zeros at the end would only make the sum overflow the narrow type earlier.
        let end = groups
            .iter()
            .rposition(|group| *group != [0, 0])
            .map_or(0, |last| last + 1);
        Ok(Self {
            negative,
            weight: i32::from(weight.cast_signed()),
            shown: usize::from(shown),
            groups: &groups[..end],
        })
    }

    /// The number without its sign times 10^scale; `None` when it has more digits after the point,
    /// or when `M` is too small for it.
    #[inline]
    fn magnitude<M: Magnitude>(&self, scale: i32) -> Option<M> {
        // Only the last group can reach beyond the column's scale, so the ones in front are added
        // without a check.
        let Some((last, front)) = self.groups.split_last() else {
            return Some(M::ZERO);
        };
        let mut sum = M::ZERO;
        for group in front {
            sum = sum.push(10_000, u16::from_be_bytes(*group))?;
        }
        let last = u16::from_be_bytes(*last);
        // The power of ten of the last group's last digit, in units of the column's scale.
        let power = GROUP * (self.weight - front.len() as i32) + scale;
        match power {
            // The group reaches beyond the column's last digit, where every digit must be zero.
            -3..=-1 => {
                let behind = 10_u16.pow(power.unsigned_abs());
                (last % behind == 0).then_some(())?;
                sum.push(10_000 / behind, last / behind)
            }
            0.. => {
                sum = sum.push(10_000, last)?;
                for _ in 0..power / GROUP {
                    sum = sum.push(10_000, 0)?;
                }
                sum.push(10_u16.pow((power % GROUP).unsigned_abs()), 0)
            }
            _ => None,
        }
    }

    /// PostgreSQL's text of the number.
    #[cold]
    fn text(&self) -> String {
        let group = |power: i32| {
            let at = usize::try_from(self.weight - power).ok();
            at.and_then(|at| self.groups.get(at))
                .map_or(0, |group| u16::from_be_bytes(*group))
        };
        let whole = (0..=self.weight.max(0))
            .rev()
            .map(|power| format!("{:04}", group(power)))
            .collect::<String>();
        let digits = whole.trim_start_matches('0');
        let mut text = format!(
            "{}{}",
            if self.negative { "-" } else { "" },
            if digits.is_empty() { "0" } else { digits }
        );
        if self.shown > 0 {
            // The display scale may ask for more zeros than there are groups.
            let fraction = (1..)
                .map(|place| format!("{:04}", group(-place)))
                .take(self.shown.div_ceil(4))
                .collect::<String>();
            text.push('.');
            text.push_str(&fraction[..self.shown]);
        }
        text
    }
}

/// An integer that digits are pushed into from the right.
pub(super) trait Magnitude: Copy {
    const ZERO: Self;
    const ONE: Self;
    /// `self * factor + digits`; `None` when that does not fit.
    fn push(self, factor: u16, digits: u16) -> Option<Self>;
}

impl Magnitude for u64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    #[inline]
    fn push(self, factor: u16, digits: u16) -> Option<Self> {
        self.checked_mul(Self::from(factor))?
            .checked_add(Self::from(digits))
    }
}

impl Magnitude for i128 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    #[inline]
    fn push(self, factor: u16, digits: u16) -> Option<Self> {
        self.checked_mul(Self::from(factor))?
            .checked_add(Self::from(digits))
    }
}

impl Magnitude for i256 {
    const ZERO: Self = Self::ZERO;
    const ONE: Self = Self::ONE;
    fn push(self, factor: u16, digits: u16) -> Option<Self> {
        self.checked_mul(Self::from_i128(factor.into()))?
            .checked_add(Self::from_i128(digits.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn decimal(words: &[u16], precision: u8, scale: i8) -> Result<i128, Misfit> {
        let wide = decimal256(&bytes(words), Scale::new(precision, scale));
        let narrow = decimal128(&bytes(words), Scale::new(precision, scale));
        assert_eq!(
            narrow,
            wide.map(|wide| wide.to_i128().expect("38 digits")),
            "both widths agree"
        );
        narrow
    }

    fn unfit(text: &str) -> Misfit {
        Misfit::Unfit(text.to_owned())
    }

    #[test]
    fn the_example_12345_6700_is_exact() {
        // `numeric_send(12345.6700)` on PostgreSQL 15: the zeros after the seven are part of the
        // last group.
        let sent = [3, 1, 0, 4, 0x0001, 0x0929, 0x1a2c];
        assert_eq!(decimal(&sent, 10, 4), Ok(123_456_700));
        assert_eq!(decimal(&sent, 10, 2), Ok(1_234_567));
        assert_eq!(decimal(&sent, 10, 1), Err(unfit("12345.6700")));
    }

    #[test]
    fn groups_of_zeros_that_are_left_out_count() {
        assert_eq!(
            decimal(&[1, 2, 0, 0, 1], 12, 2),
            Ok(10_000_000_000),
            "100000000.00"
        );
        assert_eq!(decimal(&[0, 0, 0, 2], 10, 2), Ok(0));
        assert_eq!(
            decimal(&[3, 0, 0, 8, 7, 0, 0], 10, 2),
            Ok(700),
            "a server that sends them"
        );
        assert_eq!(
            decimal(&[1, 0xfffe, 0x4000, 8, 1], 10, 8),
            Ok(-1),
            "-0.00000001"
        );
    }

    #[test]
    fn nan_and_the_infinities_are_unfit() {
        assert_eq!(decimal(&[0, 0, 0xc000, 0], 10, 2), Err(unfit("NaN")));
        assert_eq!(decimal(&[0, 0, 0xd000, 0], 10, 2), Err(unfit("Infinity")));
        assert_eq!(decimal(&[0, 0, 0xf000, 0], 10, 2), Err(unfit("-Infinity")));
    }

    #[test]
    fn all_38_digits_fit_and_the_39th_does_not() {
        let nines = |groups: usize, last: u16| {
            [
                vec![groups as u16 + 1, groups as u16 - 1, 0, 1],
                vec![9_999; groups],
                vec![last],
            ]
            .concat()
        };
        // 36 digits before the point and one after it: the last group would not fit 128 bits if it
        // were taken whole.
        assert_eq!(decimal(&nines(9, 9_000), 38, 1), Ok(10_i128.pow(37) - 1));
        let mut thirty_eight = nines(9, 9_999);
        thirty_eight[4] = 99;
        thirty_eight[1] = 9;
        thirty_eight[3] = 0;
        assert_eq!(decimal(&thirty_eight, 38, 0), Ok(10_i128.pow(38) - 1));
        thirty_eight[4] = 100;
        assert_eq!(
            decimal128(&bytes(&thirty_eight), Scale::new(38, 0)),
            Err(unfit(&format!("100{}", "9".repeat(36))))
        );
    }

    #[test]
    fn all_76_digits_fit() {
        let words = [vec![19, 18, 0x4000, 0], vec![9_999; 19]].concat();
        let limit = i256::from_i128(10).checked_pow(76).expect("fits");
        assert_eq!(
            decimal256(&bytes(&words), Scale::new(76, 0)),
            Ok(i256::ONE - limit)
        );
    }

    #[test]
    fn a_value_beyond_the_precision_is_unfit_with_its_text() {
        assert_eq!(
            decimal(&[2, 0, 0x4000, 2, 1_000, 500], 5, 2),
            Err(unfit("-1000.05"))
        );
        assert_eq!(decimal(&[1, 0xffff, 0, 3, 50], 5, 2), Err(unfit("0.005")));
        assert_eq!(
            decimal(&[1, 300, 0, 0, 1], 38, 0),
            Err(unfit(&format!("1{}", "0".repeat(1_200))))
        );
    }

    #[test]
    fn a_truncated_number_is_malformed() {
        assert_eq!(decimal(&[2, 0, 0, 0, 1], 10, 2), Err(Misfit::Malformed));
        assert_eq!(
            decimal128(&[0; 7], Scale::new(10, 2)),
            Err(Misfit::Malformed)
        );
        assert_eq!(
            decimal128(&[0, 1, 0, 0, 0, 0, 0, 0, 5], Scale::new(10, 2)),
            Err(Misfit::Malformed)
        );
    }
}
