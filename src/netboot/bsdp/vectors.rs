//! Bodies of deployed servers and clients, read and where ours say the same, written byte for byte.

use super::request::walk;
use super::*;
use crate::netboot::fixture;

macro_rules! vector {
    ($name:literal) => {
        fixture::hex(include_str!(concat!("../../../tests/fixtures/bsdp/", $name)))
    };
}

fn options(body: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, NotBsdp> {
    let mut options = Vec::new();
    walk(body, |code, value| {
        options.push((code, value.to_vec()));
        Ok(())
    })?;
    Ok(options)
}

#[test]
fn a_selection_is_confirmed_as_deployed_servers_do_it() {
    let confirmed =
        Confirmation { image: ImageId::from(0x8100_07e5), machine_name: "NetBoot001", shadow: None };
    assert_eq!(confirmed.ack(), vector!("opt43-server-select-wikipedia.hex"));
    assert_eq!(confirmed.offer(), confirmed.ack()[3..], "a bound client is told no message type");
    let short = options(&vector!("opt43-server-select-piprograms.hex")).unwrap();
    assert_eq!(short, [(1, vec![2]), (8, vec![0x81, 0, 0, 1])]);
    let named = options(&vector!("opt43-server-select-isc-dhcp-users.hex")).unwrap();
    assert_eq!(
        named[1..],
        [(3, vec![172, 20, 0, 1]), (8, vec![0x81, 0, 0, 0xb5]), (130, b"NetBoot001".to_vec())]
    );
}

#[test]
fn a_bound_client_is_listed_its_image_as_deployed_servers_do_it() {
    let id = ImageId::from(0x8100_052a);
    let list = List { priority: 32768, default: id, selected: Some(id), images: vec![(id, "iPXE-FOG")] };
    assert_eq!(list.write(259).bodies, [vector!("opt43-server-list-node-dhcproxy.hex")]);
}

#[test]
fn entries_of_an_image_list_come_out_as_in_test_suites_of_others() {
    let body = |images: &[(u32, &'static str)]| {
        let images: Vec<_> = images.iter().map(|(id, name)| (ImageId::from(*id), *name)).collect();
        let written = List { priority: 1, default: images[0].0, selected: None, images }.write(259);
        options(&written.bodies[0]).unwrap().remove(3)
    };
    let two = [(0x0100_03e9, "bsdp-1"), (0x8000_2331, "bsdp-2")];
    assert_eq!(body(&two), (9, vector!("imagelist-insomniacslk-two.hex")));
    assert_eq!(body(&[(0x0100_1010, "bsdp-21")]), (9, vector!("image-insomniacslk-1010.hex")));
    assert_eq!(body(&[(0x8100_1000, "bsdp-1")]), (9, vector!("image-insomniacslk-install-1000.hex")));
    assert_eq!(
        body(&[(0x8100_0001, "netboot")]),
        options(&vector!("opt43-server-list-piprograms-minimal.hex")).unwrap()[1]
    );
}

#[test]
fn the_single_step_offers_of_old_firmware_are_one_image_id() {
    assert_eq!(
        options(&vector!("opt43-server-offer-fog-oldmacs.hex")).unwrap(),
        [(8, vec![0x81, 0, 0, 0x67])]
    );
    assert_eq!(options(&vector!("opt43-server-offer-maas.hex")).unwrap(), [(8, vec![0x81, 0, 0, 0x89])]);
}

#[test]
fn section_14_a_shadow_path_whose_length_is_wrong_is_refused() {
    let body = [&[1, 1, 2, 8, 4, 0x81, 0, 0, 1, 128, 60][..], b"afp://user:pass@10.0.1.7/NetBoot"].concat();
    assert_eq!(options(&body), Err(NotBsdp::Truncated { code: 128, claimed: 60, left: 32 }));
}

#[test]
fn section_14_shadow_paths_follow_the_name_and_all_fit_one_option() {
    let shadow = Shadow { mount: "nfs:10.0.1.5:/shadows".into(), file: "{name}/Shadow".into() };
    let id = ImageId::from(0x0100_0001);
    let body = Confirmation { image: id, machine_name: "NetBoot001", shadow: Some(&shadow) }.ack();
    let strings = [(130, "NetBoot001"), (128, "nfs:10.0.1.5:/shadows"), (129, "NetBoot001/Shadow")];
    assert_eq!(options(&body).unwrap()[2..], strings.map(|(code, text)| (code, text.as_bytes().to_vec())));
    let long = Shadow { mount: "m".repeat(300), file: "{name}".repeat(9) };
    let body = Confirmation { image: id, machine_name: &"n".repeat(99), shadow: Some(&long) }.ack();
    assert_eq!(body.len(), 255);
}
