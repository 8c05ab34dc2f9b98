//! Random bytes from the operating system.

use crate::Error;

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| Error::Entropy(source.to_string()))?;
    Ok(bytes)
}
