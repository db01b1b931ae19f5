use std::io::{self, BufReader, Read, Write};

use super::*;

const LEVELS_OF_GZIP: std::ops::RangeInclusive<u32> = 1..=9;
const LEVELS_OF_ZSTD: std::ops::RangeInclusive<i32> = 1..=19;

fn every_compression() -> Vec<Compression> {
    let gzip = LEVELS_OF_GZIP.map(Compression::Gzip);
    gzip.chain(LEVELS_OF_ZSTD.map(Compression::Zstd)).chain([Compression::None]).collect()
}

const COMPRESSIONS: [Compression; 6] = [
    Compression::Gzip(1),
    Compression::Gzip(6),
    Compression::Gzip(9),
    Compression::Zstd(-5),
    Compression::Zstd(1),
    Compression::Zstd(19),
];

/// Incompressible bytes, the same at each call.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn rows(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| format!("{n}\t{}\tsome text of row {n}\t\\N\n", n * n % 97).into_bytes())
        .collect()
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"x".to_vec(),
        b"\n".repeat(1 << 20),
        [rows(4000), noise(200_000), b"0".repeat(200_000), rows(10)].concat(),
    ]
}

fn compressed(plain: &[u8], compression: Compression, step: usize) -> Vec<u8> {
    let mut compressor = Compressor::new(Vec::new(), compression).unwrap();
    for piece in plain.chunks(step) {
        compressor.write_all(piece).unwrap();
    }
    compressor.finish().unwrap()
}

fn decompressed(packed: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let reader = BufReader::with_capacity(8192, packed);
    Decompressor::new(reader, packing)?.read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn every_level_gives_back_what_it_was_given() {
    for plain in samples() {
        for compression in every_compression() {
            let packed = compressed(&plain, compression, 65_536);
            assert!(decompressed(&packed, compression.into()).unwrap() == plain, "{compression:?}");
            assert!(packed.len() <= plain.len() + plain.len() / 1000 + 64, "{compression:?} grows");
        }
    }
}

#[test]
fn the_result_is_the_same_however_the_text_is_cut() {
    let plain = [rows(8000), noise(10_000)].concat();
    for compression in COMPRESSIONS {
        let whole = compressed(&plain, compression, plain.len());
        for step in [777, 65_279, 65_281, 200_000] {
            assert!(compressed(&plain, compression, step) == whole, "{compression:?} by {step}");
        }
    }
}

#[test]
fn a_higher_level_is_not_worse() {
    let plain = rows(20_000);
    let size = |compression| compressed(&plain, compression, 65_536).len();
    assert!(size(Compression::Gzip(6)) < size(Compression::Gzip(1)));
    assert!(size(Compression::Gzip(9)) <= size(Compression::Gzip(6)));
    assert!(size(Compression::Zstd(19)) < size(Compression::Zstd(1)));
}

#[test]
fn a_level_that_is_none_is_refused() {
    for compression in
        [Compression::Gzip(0), Compression::Gzip(10), Compression::Zstd(0), Compression::Zstd(20)]
    {
        assert!(Compressor::new(Vec::new(), compression).is_err(), "{compression:?}");
    }
}

#[test]
fn several_members_or_frames_are_read_as_one_text() {
    for compression in COMPRESSIONS {
        let (first, second) = (rows(3000), noise(3000));
        let empty = compressed(b"", compression, 1);
        let packed =
            [compressed(&first, compression, 99), empty, compressed(&second, compression, 99)].concat();
        let plain = decompressed(&packed, compression.into()).unwrap();
        assert!(plain == [first, second].concat(), "{compression:?}");
    }
}

#[test]
fn an_end_before_its_time_is_an_error() {
    for compression in COMPRESSIONS {
        let packed = compressed(&rows(6000), compression, 65_536);
        let lengths = (1..40).chain((40..packed.len()).step_by(997)).chain(packed.len() - 40..packed.len());
        for length in lengths {
            let read = decompressed(&packed[..length], compression.into());
            assert!(read.is_err(), "{compression:?} cut to {length} of {}", packed.len());
        }
    }
}

#[test]
fn a_gzip_file_that_ends_between_two_members_is_not_whole() {
    let packed = compressed(&rows(20_000), Compression::Gzip(1), 65_536);
    let mut at = 0;
    let mut members = 0;
    while at < packed.len() {
        assert!(decompressed(&packed[..at], Packing::Gzip).is_err(), "cut after {members} members");
        at += usize::from(u16::from_le_bytes([packed[at + 16], packed[at + 17]])) + 1;
        members += 1;
    }
    assert_eq!(at, packed.len());
    assert!(members > 5);
}

#[test]
fn a_gzip_file_of_another_program_is_read() {
    let (first, second) = (rows(5000), noise(5000));
    let stream = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    assert!(decompressed(&stream(&first), Packing::Gzip).unwrap() == first);
    let several = [stream(&first), stream(&second)].concat();
    assert!(decompressed(&several, Packing::Gzip).unwrap() == [first, second].concat());
}

#[test]
fn members_of_another_program_may_follow_ours() {
    let (first, second) = (rows(5000), noise(5000));
    let ours = compressed(&first, Compression::Gzip(1), 65_536);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&second).unwrap();
    let theirs = encoder.finish().unwrap();
    let end = compressed(b"", Compression::Gzip(1), 1);
    let all = [&ours[..], &theirs, &ours].concat();
    assert!(decompressed(&all, Packing::Gzip).unwrap() == [&first[..], &second, &first].concat());
    // A file that starts with blocks must end with the empty member.
    let read = decompressed(&all[..all.len() - end.len()], Packing::Gzip);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_empty_file_is_no_text() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        assert!(decompressed(b"", packing).is_err(), "{packing:?}");
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for compression in COMPRESSIONS {
        let packed = compressed(&rows(2000), compression, 65_536);
        for garbage in [&b"x"[..], b"\0", b"\x1f\x8b", b"\x28\xb5", &[0; 512], b"garbage of some length"] {
            let read = decompressed(&[&packed, garbage].concat(), compression.into());
            assert!(read.is_err(), "{compression:?} and {garbage:?}");
        }
    }
}

#[test]
fn a_changed_bit_is_an_error_or_makes_no_difference() {
    for compression in COMPRESSIONS {
        let plain = [rows(200), noise(500)].concat();
        let mut packed = compressed(&plain, compression, 65_536);
        let mut harmless = 0;
        for at in 0..packed.len() {
            packed[at] ^= 1 << (at % 8);
            // Both formats have bits without effect, such as padding.
            if let Ok(read) = decompressed(&packed, compression.into()) {
                assert!(read == plain, "{compression:?}, byte {at} of {}", packed.len());
                harmless += 1;
            }
            packed[at] ^= 1 << (at % 8);
        }
        assert!(harmless < 16, "{compression:?}: {harmless} of {}", packed.len());
    }
}

#[test]
fn a_writer_that_fails_fails_the_compression() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let plain = noise(400_000);
    for compression in every_compression() {
        for room in [0, 300_000] {
            let mut compressor = Compressor::new(Full(room), compression).unwrap();
            let written = compressor.write_all(&plain).and_then(|()| compressor.finish().map(drop));
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull, "{compression:?}");
        }
    }
}

#[test]
fn a_file_is_told_by_its_beginning() {
    for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
        assert_eq!(Packing::of(&compressed(b"--\n-- SQL", compression, 9)), compression.into());
    }
    assert_eq!(Packing::of(b""), Packing::None);
}
