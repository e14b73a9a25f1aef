//! Sums and means of decimal numbers, without a detour over binary fractions.

use std::fmt;

/// A sum of up to 38 digits.
#[derive(Debug, Clone, Copy)]
pub struct Total {
    mantissa: i128,
    /// Digits behind the point.
    scale: u32,
}

/// More digits behind the point than any field of Zoho keeps.
const MAX_SCALE: u32 = 18;

impl Total {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// Reads `12`, `-0.50` or `1.5e3`; `None` for anything else and for more than 38 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let mantissa = if negative { -mantissa } else { mantissa };
        Self::shifted(mantissa, i64::try_from(fraction.len()).ok()? - i64::from(exponent))
    }

    /// `mantissa` / 10^`scale`, where a negative scale adds zeros.
    fn shifted(mantissa: i128, scale: i64) -> Option<Self> {
        if scale >= 0 {
            return Some(Self { mantissa, scale: u32::try_from(scale).ok()? });
        }
        let zeros = u32::try_from(-scale).ok()?;
        Some(Self { mantissa: mantissa.checked_mul(10_i128.checked_pow(zeros)?)?, scale: 0 })
    }

    /// The sum; `None` when it has more than 38 digits.
    pub fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let mantissa = self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?;
        Some(Self { mantissa, scale })
    }

    /// The mean of a sum over `count` values, with up to nine more digits than the sum has.
    pub fn divided_by(self, count: u64) -> Option<Self> {
        let scale = (self.scale + 9).min(MAX_SCALE).max(self.scale);
        Some(Self { mantissa: self.at_scale(scale)? / i128::from(count.max(1)), scale }.trimmed())
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        self.mantissa.checked_mul(10_i128.checked_pow(scale - self.scale)?)
    }

    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = self.scale as usize;
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::Total;

    fn number(text: &str) -> Total {
        Total::parse(text).expect("a number")
    }

    #[test]
    fn adds_exactly_and_keeps_the_digits() {
        assert_eq!(number("0.1").plus(number("0.20")).expect("fits").to_string(), "0.30");
        assert_eq!(number("-0.05").to_string(), "-0.05");
        assert_eq!(number("10").divided_by(4).expect("fits").to_string(), "2.5");
        assert_eq!(number("1").divided_by(3).expect("fits").to_string(), "0.333333333");
    }

    #[test]
    fn refuses_what_is_not_a_number() {
        for text in ["", "-", "1,5", "abc", "1.2.3", "1e"] {
            assert!(Total::parse(text).is_none(), "{text}");
        }
    }
}
