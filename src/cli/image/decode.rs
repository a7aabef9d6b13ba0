//! `rootstock image decode FILE OUT`.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::file::{Image, Output, Partial};
use super::password::Password;
use crate::image::source::DecodeError;
use crate::value::ByteSize;

/// The arguments of `decode`.
#[derive(Args)]
pub struct Decode {
    /// The image: .dmg, .sparseimage, .sparsebundle, partclone or raw, compressed or split; recognised by its content
    file: PathBuf,
    /// File or block device to write
    out: PathBuf,
    #[command(flatten)]
    password: Password,
}

impl Decode {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let of_file = || self.file.display().to_string();
        let mut image = Image::open(&self.file, &self.password).with_context(of_file)?;
        match fs::metadata(&self.out) {
            Ok(found) if found.is_dir() => {
                bail!("{}: this is a folder; name a file in it", self.out.display())
            }
            Ok(found) => {
                let own = fs::metadata(&self.file).with_context(of_file)?;
                ensure!(
                    (own.dev(), own.ino()) != (found.dev(), found.ino()),
                    "{}: this is the image itself; name another output",
                    self.out.display()
                );
                if found.is_file() { self.to_file(&mut image) } else { self.to_device(&mut image, &found) }
            }
            Err(_) => self.to_file(&mut image),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    fn to_file(&self, image: &mut Image) -> anyhow::Result<()> {
        let partial = Partial::create(&self.out)?;
        let to_partial = || format!("writing {}", partial.path.display());
        let mut output = Output::Sparse(partial.file.try_clone().with_context(to_partial)?);
        let decoded = self.decode(image, &mut output)?;
        output.finish(decoded).with_context(to_partial)?;
        partial.publish(&self.out, true)
    }

    fn to_device(&self, image: &mut Image, found: &fs::Metadata) -> anyhow::Result<()> {
        let to_out = || format!("writing {}", self.out.display());
        let mut device = OpenOptions::new().write(true).open(&self.out).with_context(to_out)?;
        if let (true, Some(need)) = (found.file_type().is_block_device(), image.source.size()) {
            let have = device.seek(SeekFrom::End(0)).with_context(to_out)?;
            ensure!(
                need <= have,
                "{}: too small: the image needs {} ({need} bytes), the device has {} ({have} \
                 bytes); nothing was written",
                self.out.display(),
                ByteSize(need),
                ByteSize(have)
            );
            device.rewind().with_context(to_out)?;
        }
        let mut output = Output::Sequential(device);
        let size = self.decode(image, &mut output)?;
        output.finish(size).with_context(to_out)?;
        Ok(())
    }

    /// Decodes and says how many bytes that made; an error names the side that it came from.
    fn decode(&self, image: &mut Image, output: &mut Output) -> anyhow::Result<u64> {
        match image.decode_into(output) {
            Ok(decoded) => Ok(decoded.size),
            Err(DecodeError::Source(error)) => Err(error).with_context(|| self.file.display().to_string()),
            Err(DecodeError::Sink(error)) => {
                Err(error).with_context(|| format!("writing {}", self.out.display()))
            }
        }
    }
}
