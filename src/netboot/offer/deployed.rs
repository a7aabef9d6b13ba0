//! What is known of a Mac before it boots decides whether it is offered our own set, and is told with the reason.

use super::tests::{IMAC, LIST, SERVER, ask_with, reason, selection, set};
use super::*;
use crate::netboot::fixture;
use crate::netboot::nbi::Program;

fn asked(class: &[u8], sets: &[BootSet], deployed: Deployed) -> Result<Answer, Unanswered> {
    let list = fixture::request(8, class, &[LIST]);
    let (bindings, policy) = (BindingTable::default(), Policy::default());
    ask_with(&list, Door::Dhcp, "10.0.1.93:68", sets, (&bindings, &policy, deployed))
}

fn ours() -> BootSet {
    set("rootstock.nbi", "Rootstock", 1, 1, "")
}

#[test]
fn a_mac_that_cannot_run_our_boot_environment_is_left_out_of_our_set_only_and_the_reason_is_told() {
    let apples = set("apple.nbi", "NetInstall", 1, 2, "");
    for (class, words) in [
        (&b"AAPLBSDPC/i386/iMac4,1"[..], "its processor has 32 bits"),
        (b"AAPLBSDPC/i386/MacBookPro15,1", "its T2 chip"),
        (b"AAPLBSDPC/i386/Mac14,2", "Apple silicon"),
    ] {
        let silent = reason(asked(class, &[ours()], Deployed::Something)).to_string();
        assert!(silent.contains(words) && silent.contains("rootstock model"), "{silent}");
        let told = asked(class, &[ours(), apples.clone()], Deployed::Something).unwrap();
        assert!(told.detail.contains("1 offered, default NetInstall"), "{}", told.detail);
    }
}

#[test]
fn models_that_can_run_it_and_unknown_ones_are_offered_our_set() {
    for class in [IMAC, b"AAPLBSDPC/i386/MacBook2,1", b"AAPLBSDPC/i386/iMac99,1", b"AAPLBSDPC/i386/"] {
        assert!(asked(class, &[ours()], Deployed::Something).is_ok());
    }
}

#[test]
fn a_mac_without_deployment_boots_with_a_remark_or_is_left_out_as_the_site_wants() {
    let told = asked(IMAC, &[ours()], Deployed::Nothing(Then::Boot)).unwrap();
    assert!(told.detail.contains("nothing is deployed to it"), "{}", told.detail);
    let silent = asked(IMAC, &[ours()], Deployed::Nothing(Then::Ignore));
    assert_eq!(reason(silent), Silence::NothingDeployed);
    let apples = set("apple.nbi", "NetInstall", 1, 2, "");
    let told = asked(IMAC, &[ours(), apples], Deployed::Nothing(Then::Ignore)).unwrap();
    assert!(told.detail.ends_with("1 offered, default NetInstall"), "{}", told.detail);
}

#[test]
fn a_selection_of_what_is_left_out_fails() {
    let (bindings, policy) = (BindingTable::default(), Policy::default());
    let rest = (&bindings, &policy, Deployed::Nothing(Then::Ignore));
    let told =
        ask_with(&selection(SERVER, 0x8100_0001), Door::Dhcp, "10.0.1.93:68", &[ours()], rest).unwrap();
    assert!(told.started.is_none() && told.detail.ends_with("FAILED"), "{}", told.detail);
}

#[test]
fn a_mac_with_32_bit_firmware_is_told_apart_from_one_that_no_set_is_for() {
    let mut wide = ours();
    wide.boot_files[0].program = Program::Efi { ia32: false, x64: true };
    let silent = |sets: &[BootSet]| reason(asked(b"AAPLBSDPC/i386/MacBook2,1", sets, Deployed::Something));
    assert!(silent(&[wide.clone()]).to_string().contains("its EFI has 32 bits"));
    assert!(matches!(silent(&[]), Silence::NothingToOffer { .. }));
    assert!(asked(IMAC, &[wide.clone()], Deployed::Something).is_ok());
    wide.boot_files[0].ia32 = Some(FileName::try_from("rootstock.nbi/i386/booter-ia32".to_owned()).unwrap());
    assert!(asked(b"AAPLBSDPC/i386/MacBook2,1", &[wide], Deployed::Something).is_ok());
}

#[test]
fn a_booter_that_is_chosen_by_an_unconfirmed_width_is_told_with_that() {
    let words = "which is not confirmed for this model";
    let mut both = ours();
    both.boot_files[0].program = Program::Efi { ia32: false, x64: true };
    let silent = reason(asked(b"AAPLBSDPC/i386/Macmini2,1", &[both.clone()], Deployed::Something));
    assert!(silent.to_string().contains("32 bits (not confirmed for this model)"), "{silent}");
    both.boot_files[0].ia32 = Some(FileName::try_from("rootstock.nbi/i386/booter-ia32".to_owned()).unwrap());
    for (class, bits) in [
        (&b"AAPLBSDPC/i386/Macmini2,1"[..], Some("; booter for 32-bit EFI")),
        (b"AAPLBSDPC/i386/MacBook3,1", Some("; booter for 64-bit EFI")),
        (b"AAPLBSDPC/i386/MacBook2,1", None),
        (b"AAPLBSDPC/i386/iMac99,1", None),
    ] {
        let detail = asked(class, &[both.clone()], Deployed::Something).unwrap().detail;
        assert_eq!(detail.contains(words), bits.is_some(), "{detail}");
        assert!(detail.contains(bits.unwrap_or_default()), "{detail}");
    }
}
