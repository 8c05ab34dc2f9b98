//! Takes from Swagger UI the two files that the page of `/docs` needs, compressed as they are sent: all of it would be a third
//! of the bootstrap.

use std::borrow::Cow;
use std::error::Error;
use std::fs::File;
use std::io::{Cursor, copy};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const NEEDED: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write")]
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in NEEDED {
        let end = format!("/dist/{name}");
        let paths = archive.file_names().filter_map(Result::ok);
        let path = paths.map(Cow::into_owned).find(|path| path.ends_with(&end)).ok_or(end)?;
        let mut file = archive.by_name(&path)?;
        let mut packed = GzEncoder::new(File::create(out.join(format!("{name}.gz")))?, Compression::best());
        copy(&mut file, &mut packed)?;
        packed.finish()?;
    }
    Ok(())
}
