//! Further kernel arguments of the boot environment, as a person writes them.
//!
//! Owns: which characters are let through to a boot loader's script. Must not know: what the kernel does with them.

use std::fmt;
use std::str::FromStr;

/// Kernel arguments when none are asked for: plain lines on a serial port, the wizard on the screen.
///
/// A Mac without a serial line skips it; the screen is named last and so is `/dev/console`.
pub const USUAL: &str = "console=ttyS0,115200 console=tty0";
/// Most bytes of them: the kernel takes 2047 in all (COMMAND_LINE_SIZE of x86), and cuts silently.
pub const LONGEST: usize = 1024;

/// Words for the kernel's command line; none of them can mean anything to a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArguments(Vec<String>);

/// What a boot loader or the kernel would not take as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArguments {
    /// A word with a character that means something to a boot loader.
    #[error(
        "`{0}` is no kernel argument: letters, digits and . , : ; = _ + - / @ % [ ] are, separated by spaces"
    )]
    Word(String),
    /// Too many.
    #[error("kernel arguments have at most {LONGEST} bytes, these {0}")]
    TooLong(usize),
}

impl KernelArguments {
    /// The same with `word` behind them; a word that is none is left out.
    #[must_use]
    pub fn and(mut self, word: &str) -> KernelArguments {
        self.0.extend(is_argument(word).then(|| word.to_owned()));
        self
    }

    /// Each in single quotes, as GRUB reads them: a space before each.
    pub fn for_grub(&self) -> String {
        self.0.iter().map(|word| format!(" '{word}'")).collect()
    }
}

impl Default for KernelArguments {
    /// [`USUAL`]
    fn default() -> KernelArguments {
        KernelArguments(USUAL.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

impl FromStr for KernelArguments {
    type Err = BadArguments;

    fn from_str(text: &str) -> Result<KernelArguments, BadArguments> {
        if text.len() > LONGEST {
            return Err(BadArguments::TooLong(text.len()));
        }
        let words = text.split_ascii_whitespace();
        let words = words.map(|word| match is_argument(word) {
            true => Ok(word.to_owned()),
            false => Err(BadArguments::Word(word.to_owned())),
        });
        Ok(KernelArguments(words.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for KernelArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

fn is_argument(word: &str) -> bool {
    // Brackets are for an IPv6 address in rootstock.server=. To iPXE `;` as a word of its own ends the command.
    !word.is_empty()
        && !word.starts_with(';')
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".,:;=_+-/@%[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_grub_quoted_and_one_by_one() {
        let arguments: KernelArguments = " quiet\tconsole=ttyS0,115200 ".parse().unwrap();
        let arguments = arguments.and("rootstock.server=https://[2001:db8::1]:8443");
        assert_eq!(
            arguments.for_grub(),
            " 'quiet' 'console=ttyS0,115200' 'rootstock.server=https://[2001:db8::1]:8443'"
        );
    }

    #[test]
    fn what_a_boot_loader_would_read_as_its_own_is_refused() {
        for text in ["a'b", "${x}", "a\"", "a\\b", "{", "x>y", "ä", "`x`", "a&&b", "||", ";", "#x"] {
            let refused = Err(BadArguments::Word(text.to_owned()));
            assert_eq!(text.parse::<KernelArguments>(), refused, "{text}");
        }
        assert_eq!("".parse::<KernelArguments>().unwrap().for_grub(), "");
        assert_eq!(" ".repeat(1025).parse::<KernelArguments>(), Err(BadArguments::TooLong(1025)));
    }
}
