//! Further kernel arguments, as a person writes them.
//!
//! Owns: which characters are let through to a boot loader's script. Must not know: what the kernel does with them.

use std::fmt;
use std::str::FromStr;

/// Kernel arguments when none are asked for: plain lines on a serial port, the wizard on the screen.
pub const USUAL: &str = "console=ttyS0,115200 console=tty0";

/// Words for the kernel's command line; none of them can mean anything to a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArguments(Vec<String>);

/// A word that a boot loader would not hand on as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kernel argument: letters, digits and . , : ; = _ + - / @ % are, separated by spaces")]
pub struct BadArgument(String);

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

impl FromStr for KernelArguments {
    type Err = BadArgument;

    fn from_str(text: &str) -> Result<KernelArguments, BadArgument> {
        let words = text.split_ascii_whitespace();
        let words = words.map(|word| match is_argument(word) {
            true => Ok(word.to_owned()),
            false => Err(BadArgument(word.to_owned())),
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
    // Brackets are for an IPv6 address in rootstock.server=.
    !word.is_empty()
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
        for text in ["a'b", "${x}", "a\"", "a\\b", "{", "x>y", "ä", "`x`", "a&&b", "#x"] {
            assert_eq!(text.parse::<KernelArguments>(), Err(BadArgument(text.to_owned())), "{text}");
        }
        assert_eq!("".parse::<KernelArguments>().unwrap().for_grub(), "");
    }
}
