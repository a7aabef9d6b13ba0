//! The table itself, by family and number. Only facts; what follows from them is beside it.
//!
//! Sources: Apple's "Identify your model" articles by number (support.apple.com/en-us/NUMBER) for names,
//! identifiers and, as far as they tell, the newest macOS; 103265 for the T2 Macs. Apple's articles begin in
//! 2009, older rows are EveryMac's. That iMac7,1 and MacBookPro3,1 have a 64-bit firmware follows from OS X 10.8,
//! which has no 32-bit boot loader and runs on them.

use super::{Firmware, Guard, Model};

const IMAC: &str = "Apple Support 108054";
const MACBOOK: &str = "Apple Support 103257";
const AIR: &str = "Apple Support 102869";
const PRO: &str = "Apple Support 108052";
const MINI: &str = "Apple Support 102852";
const MAC_PRO: &str = "Apple Support 102887";
const STUDIO: &str = "Apple Support 102231";
const T2: &str = "Apple Support 103265";
const OLD: &str = "EveryMac.com, by model identifier";
/// Apple's article was not read for these.
const PRESS: &str = "public tables that cite Apple";

type Years = (u16, u16);
type Text = &'static str;

/// An Intel Mac without T2.
const fn intel(identifier: Text, name: Text, years: Years, newest: Text, source: Text) -> Model {
    Model {
        identifier,
        name,
        years,
        firmware: Firmware::Efi64,
        processor_bits: 64,
        guard: Guard::Nothing,
        newest_macos: Some(newest),
        source,
        unconfirmed: None,
    }
}

/// Core 2 or Xeon behind a 32-bit firmware.
const fn efi32(identifier: Text, name: Text, years: Years) -> Model {
    Model { firmware: Firmware::Efi32, ..intel(identifier, name, years, "10.7", OLD) }
}

/// Core Duo or Core Solo: everything has 32 bits.
const fn core_duo(identifier: Text, name: Text) -> Model {
    Model { processor_bits: 32, newest_macos: Some("10.6"), ..efi32(identifier, name, (2006, 2006)) }
}

/// No document or report was found for the width of its firmware.
const fn width_unconfirmed(model: Model) -> Model {
    Model { unconfirmed: Some("width of the firmware"), ..model }
}

const fn t2(identifier: Text, name: Text, years: Years, newest: Text) -> Model {
    Model { guard: Guard::T2, ..intel(identifier, name, years, newest, T2) }
}

const fn silicon(identifier: Text, name: Text, year: u16, source: Text) -> Model {
    Model {
        firmware: Firmware::Iboot,
        guard: Guard::AppleSilicon,
        newest_macos: None,
        ..intel(identifier, name, (year, year), "", source)
    }
}

/// So new that Apple's article was not read, only tables that cite it.
const fn row_unconfirmed(model: Model) -> Model {
    Model { unconfirmed: Some("the whole row"), ..model }
}

pub(super) static MODELS: &[Model] = &[
    silicon("Mac13,1", "Mac Studio (M1 Max, 2022)", 2022, STUDIO),
    silicon("Mac13,2", "Mac Studio (M1 Ultra, 2022)", 2022, STUDIO),
    silicon("Mac14,2", "MacBook Air (M2, 2022)", 2022, AIR),
    silicon("Mac14,3", "Mac mini (M2, 2023)", 2023, MINI),
    silicon("Mac14,5", "MacBook Pro (14-inch, M2 Max, 2023)", 2023, PRO),
    silicon("Mac14,6", "MacBook Pro (16-inch, M2 Max, 2023)", 2023, PRO),
    silicon("Mac14,7", "MacBook Pro (13-inch, M2, 2022)", 2022, PRO),
    silicon("Mac14,8", "Mac Pro (2023), Mac Pro (Rack, 2023)", 2023, MAC_PRO),
    silicon("Mac14,9", "MacBook Pro (14-inch, M2 Pro, 2023)", 2023, PRO),
    silicon("Mac14,10", "MacBook Pro (16-inch, M2 Pro, 2023)", 2023, PRO),
    silicon("Mac14,12", "Mac mini (M2 Pro, 2023)", 2023, MINI),
    silicon("Mac14,13", "Mac Studio (M2 Max, 2023)", 2023, STUDIO),
    silicon("Mac14,14", "Mac Studio (M2 Ultra, 2023)", 2023, STUDIO),
    silicon("Mac14,15", "MacBook Air (15-inch, M2, 2023)", 2023, AIR),
    silicon("Mac15,3", "MacBook Pro (14-inch, M3, Nov 2023)", 2023, PRO),
    silicon("Mac15,4", "iMac (24-inch, M3, 2023, two ports)", 2023, IMAC),
    silicon("Mac15,5", "iMac (24-inch, M3, 2023, four ports)", 2023, IMAC),
    silicon("Mac15,6", "MacBook Pro (14-inch, M3 Pro, Nov 2023)", 2023, PRO),
    silicon("Mac15,7", "MacBook Pro (16-inch, M3 Pro, Nov 2023)", 2023, PRO),
    silicon("Mac15,8", "MacBook Pro (14-inch, M3 Max, Nov 2023)", 2023, PRO),
    silicon("Mac15,9", "MacBook Pro (16-inch, M3 Max, Nov 2023)", 2023, PRO),
    silicon("Mac15,10", "MacBook Pro (14-inch, M3 Max, Nov 2023)", 2023, PRO),
    silicon("Mac15,11", "MacBook Pro (16-inch, M3 Max, Nov 2023)", 2023, PRO),
    silicon("Mac15,12", "MacBook Air (13-inch, M3, 2024)", 2024, AIR),
    silicon("Mac15,13", "MacBook Air (15-inch, M3, 2024)", 2024, AIR),
    silicon("Mac15,14", "Mac Studio (M3 Ultra, 2025)", 2025, STUDIO),
    silicon("Mac16,1", "MacBook Pro (14-inch, M4, 2024)", 2024, PRO),
    silicon("Mac16,2", "iMac (24-inch, M4, 2024, two ports)", 2024, IMAC),
    silicon("Mac16,3", "iMac (24-inch, M4, 2024, four ports)", 2024, IMAC),
    silicon("Mac16,5", "MacBook Pro (16-inch, M4 Max, 2024)", 2024, PRO),
    silicon("Mac16,6", "MacBook Pro (14-inch, M4 Max, 2024)", 2024, PRO),
    silicon("Mac16,7", "MacBook Pro (16-inch, M4 Pro, 2024)", 2024, PRO),
    silicon("Mac16,8", "MacBook Pro (14-inch, M4 Pro, 2024)", 2024, PRO),
    silicon("Mac16,9", "Mac Studio (M4 Max, 2025)", 2025, STUDIO),
    silicon("Mac16,10", "Mac mini (M4, 2024)", 2024, MINI),
    silicon("Mac16,11", "Mac mini (M4 Pro, 2024)", 2024, MINI),
    silicon("Mac16,12", "MacBook Air (13-inch, M4, 2025)", 2025, AIR),
    silicon("Mac16,13", "MacBook Air (15-inch, M4, 2025)", 2025, AIR),
    silicon("Mac17,2", "MacBook Pro (14-inch, M5, 2025)", 2025, PRO),
    silicon("Mac17,3", "MacBook Air (13-inch, M5, 2026)", 2026, AIR),
    silicon("Mac17,4", "MacBook Air (15-inch, M5, 2026)", 2026, AIR),
    row_unconfirmed(silicon("Mac17,5", "MacBook Neo (13-inch, A18 Pro, 2026)", 2026, PRESS)),
    silicon("Mac17,6", "MacBook Pro (16-inch, M5 Max, 2026)", 2026, PRO),
    silicon("Mac17,7", "MacBook Pro (14-inch, M5 Max, 2026)", 2026, PRO),
    silicon("Mac17,8", "MacBook Pro (16-inch, M5 Pro, 2026)", 2026, PRO),
    silicon("Mac17,9", "MacBook Pro (14-inch, M5 Pro, 2026)", 2026, PRO),
    row_unconfirmed(silicon("Mac17,16", "Mac mini (M5 Pro, 2026)", 2026, PRESS)),
    row_unconfirmed(silicon("Mac18,5", "Mac mini (M6, 2026)", 2026, PRESS)),
    core_duo("MacBook1,1", "MacBook (13-inch, 2006)"),
    efi32("MacBook2,1", "MacBook (13-inch, Late 2006 and Mid 2007)", (2006, 2007)),
    width_unconfirmed(intel("MacBook3,1", "MacBook (13-inch, Late 2007)", (2007, 2007), "10.7", OLD)),
    width_unconfirmed(intel(
        "MacBook4,1",
        "MacBook (13-inch, Early and Late 2008)",
        (2008, 2008),
        "10.7",
        OLD,
    )),
    intel("MacBook5,1", "MacBook (13-inch, Aluminum, Late 2008)", (2008, 2008), "10.11", OLD),
    intel("MacBook5,2", "MacBook (13-inch, Early and Mid 2009)", (2009, 2009), "10.11", MACBOOK),
    intel("MacBook6,1", "MacBook (13-inch, Late 2009)", (2009, 2009), "10.13", MACBOOK),
    intel("MacBook7,1", "MacBook (13-inch, Mid 2010)", (2010, 2010), "10.13", MACBOOK),
    intel("MacBook8,1", "MacBook (Retina, 12-inch, Early 2015)", (2015, 2015), "11", MACBOOK),
    intel("MacBook9,1", "MacBook (Retina, 12-inch, Early 2016)", (2016, 2016), "12", MACBOOK),
    intel("MacBook10,1", "MacBook (Retina, 12-inch, 2017)", (2017, 2017), "13", MACBOOK),
    width_unconfirmed(intel("MacBookAir1,1", "MacBook Air (Early 2008)", (2008, 2008), "10.7", OLD)),
    intel("MacBookAir2,1", "MacBook Air (Late 2008 and Mid 2009)", (2008, 2009), "10.11", AIR),
    intel("MacBookAir3,1", "MacBook Air (11-inch, Late 2010)", (2010, 2010), "10.13", AIR),
    intel("MacBookAir3,2", "MacBook Air (13-inch, Late 2010)", (2010, 2010), "10.13", AIR),
    intel("MacBookAir4,1", "MacBook Air (11-inch, Mid 2011)", (2011, 2011), "10.13", AIR),
    intel("MacBookAir4,2", "MacBook Air (13-inch, Mid 2011)", (2011, 2011), "10.13", AIR),
    intel("MacBookAir5,1", "MacBook Air (11-inch, Mid 2012)", (2012, 2012), "10.15", AIR),
    intel("MacBookAir5,2", "MacBook Air (13-inch, Mid 2012)", (2012, 2012), "10.15", AIR),
    intel("MacBookAir6,1", "MacBook Air (11-inch, Mid 2013 and Early 2014)", (2013, 2014), "11", AIR),
    intel("MacBookAir6,2", "MacBook Air (13-inch, Mid 2013 and Early 2014)", (2013, 2014), "11", AIR),
    intel("MacBookAir7,1", "MacBook Air (11-inch, Early 2015)", (2015, 2015), "12", AIR),
    intel("MacBookAir7,2", "MacBook Air (13-inch, Early 2015 and 2017)", (2015, 2017), "12", AIR),
    t2("MacBookAir8,1", "MacBook Air (Retina, 13-inch, 2018)", (2018, 2018), "14"),
    t2("MacBookAir8,2", "MacBook Air (Retina, 13-inch, 2019)", (2019, 2019), "14"),
    t2("MacBookAir9,1", "MacBook Air (Retina, 13-inch, 2020)", (2020, 2020), "15"),
    silicon("MacBookAir10,1", "MacBook Air (M1, 2020)", 2020, AIR),
    core_duo("MacBookPro1,1", "MacBook Pro (15-inch, 2006)"),
    core_duo("MacBookPro1,2", "MacBook Pro (17-inch, 2006)"),
    width_unconfirmed(efi32("MacBookPro2,1", "MacBook Pro (17-inch, Late 2006)", (2006, 2006))),
    efi32("MacBookPro2,2", "MacBook Pro (15-inch, Late 2006)", (2006, 2006)),
    intel(
        "MacBookPro3,1",
        "MacBook Pro (15-inch and 17-inch, Mid and Late 2007)",
        (2007, 2007),
        "10.11",
        OLD,
    ),
    intel(
        "MacBookPro4,1",
        "MacBook Pro (15-inch and 17-inch, Early and Late 2008)",
        (2008, 2008),
        "10.11",
        OLD,
    ),
    intel("MacBookPro5,1", "MacBook Pro (15-inch, Late 2008)", (2008, 2008), "10.11", OLD),
    intel("MacBookPro5,2", "MacBook Pro (17-inch, Early and Mid 2009)", (2009, 2009), "10.11", PRO),
    intel("MacBookPro5,3", "MacBook Pro (15-inch, Mid 2009)", (2009, 2009), "10.11", PRO),
    intel("MacBookPro5,4", "MacBook Pro (15-inch, 2.53 GHz, Mid 2009)", (2009, 2009), "10.11", PRO),
    intel("MacBookPro5,5", "MacBook Pro (13-inch, Mid 2009)", (2009, 2009), "10.11", PRO),
    intel("MacBookPro6,1", "MacBook Pro (17-inch, Mid 2010)", (2010, 2010), "10.13", PRO),
    intel("MacBookPro6,2", "MacBook Pro (15-inch, Mid 2010)", (2010, 2010), "10.13", PRO),
    intel("MacBookPro7,1", "MacBook Pro (13-inch, Mid 2010)", (2010, 2010), "10.13", PRO),
    intel("MacBookPro8,1", "MacBook Pro (13-inch, Early and Late 2011)", (2011, 2011), "10.13", PRO),
    intel("MacBookPro8,2", "MacBook Pro (15-inch, Early and Late 2011)", (2011, 2011), "10.13", PRO),
    intel("MacBookPro8,3", "MacBook Pro (17-inch, Early and Late 2011)", (2011, 2011), "10.13", PRO),
    intel("MacBookPro9,1", "MacBook Pro (15-inch, Mid 2012)", (2012, 2012), "10.15", PRO),
    intel("MacBookPro9,2", "MacBook Pro (13-inch, Mid 2012)", (2012, 2012), "10.15", PRO),
    intel(
        "MacBookPro10,1",
        "MacBook Pro (Retina, 15-inch, Mid 2012 and Early 2013)",
        (2012, 2013),
        "10.15",
        PRO,
    ),
    intel(
        "MacBookPro10,2",
        "MacBook Pro (Retina, 13-inch, Late 2012 and Early 2013)",
        (2012, 2013),
        "10.15",
        PRO,
    ),
    intel("MacBookPro11,1", "MacBook Pro (Retina, 13-inch, Late 2013 and Mid 2014)", (2013, 2014), "11", PRO),
    intel("MacBookPro11,2", "MacBook Pro (Retina, 15-inch, Late 2013 and Mid 2014)", (2013, 2014), "11", PRO),
    intel(
        "MacBookPro11,3",
        "MacBook Pro (Retina, 15-inch, Late 2013 and Mid 2014, NVIDIA)",
        (2013, 2014),
        "11",
        PRO,
    ),
    intel("MacBookPro11,4", "MacBook Pro (Retina, 15-inch, Mid 2015)", (2015, 2015), "12", PRO),
    intel("MacBookPro11,5", "MacBook Pro (Retina, 15-inch, Mid 2015, AMD)", (2015, 2015), "12", PRO),
    intel("MacBookPro12,1", "MacBook Pro (Retina, 13-inch, Early 2015)", (2015, 2015), "12", PRO),
    intel("MacBookPro13,1", "MacBook Pro (13-inch, 2016, Two Thunderbolt 3 ports)", (2016, 2016), "12", PRO),
    intel("MacBookPro13,2", "MacBook Pro (13-inch, 2016, Four Thunderbolt 3 ports)", (2016, 2016), "12", PRO),
    intel("MacBookPro13,3", "MacBook Pro (15-inch, 2016)", (2016, 2016), "12", PRO),
    intel("MacBookPro14,1", "MacBook Pro (13-inch, 2017, Two Thunderbolt 3 ports)", (2017, 2017), "13", PRO),
    intel("MacBookPro14,2", "MacBook Pro (13-inch, 2017, Four Thunderbolt 3 ports)", (2017, 2017), "13", PRO),
    intel("MacBookPro14,3", "MacBook Pro (15-inch, 2017)", (2017, 2017), "13", PRO),
    t2("MacBookPro15,1", "MacBook Pro (15-inch, 2018 and 2019)", (2018, 2019), "15"),
    t2(
        "MacBookPro15,2",
        "MacBook Pro (13-inch, 2018 and 2019, Four Thunderbolt 3 ports)",
        (2018, 2019),
        "15",
    ),
    t2("MacBookPro15,3", "MacBook Pro (15-inch, 2018 and 2019, Radeon Pro Vega)", (2018, 2019), "15"),
    t2("MacBookPro15,4", "MacBook Pro (13-inch, 2019, Two Thunderbolt 3 ports)", (2019, 2019), "15"),
    t2("MacBookPro16,1", "MacBook Pro (16-inch, 2019)", (2019, 2019), "26"),
    t2("MacBookPro16,2", "MacBook Pro (13-inch, 2020, Four Thunderbolt 3 ports)", (2020, 2020), "26"),
    t2("MacBookPro16,3", "MacBook Pro (13-inch, 2020, Two Thunderbolt 3 ports)", (2020, 2020), "15"),
    t2("MacBookPro16,4", "MacBook Pro (16-inch, 2019, Radeon Pro 5600M)", (2019, 2020), "26"),
    silicon("MacBookPro17,1", "MacBook Pro (13-inch, M1, 2020)", 2020, PRO),
    silicon("MacBookPro18,1", "MacBook Pro (16-inch, M1 Pro, 2021)", 2021, PRO),
    silicon("MacBookPro18,2", "MacBook Pro (16-inch, M1 Max, 2021)", 2021, PRO),
    silicon("MacBookPro18,3", "MacBook Pro (14-inch, M1 Pro, 2021)", 2021, PRO),
    silicon("MacBookPro18,4", "MacBook Pro (14-inch, M1 Max, 2021)", 2021, PRO),
    efi32("MacPro1,1", "Mac Pro (2006)", (2006, 2006)),
    efi32("MacPro2,1", "Mac Pro (8-core, Early 2007)", (2007, 2007)),
    intel("MacPro3,1", "Mac Pro (Early 2008)", (2008, 2008), "10.11", OLD),
    intel("MacPro4,1", "Mac Pro (Early 2009)", (2009, 2009), "10.11", MAC_PRO),
    intel("MacPro5,1", "Mac Pro (Mid 2010 and Mid 2012), also Server", (2010, 2012), "10.14", MAC_PRO),
    intel("MacPro6,1", "Mac Pro (Late 2013)", (2013, 2013), "12", MAC_PRO),
    t2("MacPro7,1", "Mac Pro (2019), Mac Pro (Rack, 2019)", (2019, 2019), "26"),
    core_duo("Macmini1,1", "Mac mini (Early and Late 2006)"),
    width_unconfirmed(efi32("Macmini2,1", "Mac mini (Mid 2007)", (2007, 2007))),
    intel("Macmini3,1", "Mac mini (Early and Late 2009)", (2009, 2009), "10.11", MINI),
    intel("Macmini4,1", "Mac mini (Mid 2010)", (2010, 2010), "10.13", MINI),
    intel("Macmini5,1", "Mac mini (Mid 2011)", (2011, 2011), "10.13", MINI),
    intel("Macmini5,2", "Mac mini (Mid 2011, AMD)", (2011, 2011), "10.13", MINI),
    intel("Macmini5,3", "Mac mini Server (Mid 2011)", (2011, 2011), "10.13", MINI),
    intel("Macmini6,1", "Mac mini (Late 2012)", (2012, 2012), "10.15", MINI),
    intel("Macmini6,2", "Mac mini (Late 2012, quad-core), also Server", (2012, 2012), "10.15", MINI),
    intel("Macmini7,1", "Mac mini (Late 2014)", (2014, 2014), "12", MINI),
    t2("Macmini8,1", "Mac mini (2018)", (2018, 2018), "15"),
    silicon("Macmini9,1", "Mac mini (M1, 2020)", 2020, MINI),
    efi32("Xserve1,1", "Xserve (Late 2006)", (2006, 2006)),
    intel("Xserve2,1", "Xserve (Early 2008)", (2008, 2008), "10.7", OLD),
    intel("Xserve3,1", "Xserve (Early 2009)", (2009, 2009), "10.11", OLD),
    core_duo("iMac4,1", "iMac (17-inch and 20-inch, Early 2006)"),
    core_duo("iMac4,2", "iMac (17-inch, Mid 2006)"),
    efi32("iMac5,1", "iMac (17-inch and 20-inch, Late 2006)", (2006, 2006)),
    width_unconfirmed(efi32("iMac5,2", "iMac (17-inch, Late 2006 CD)", (2006, 2006))),
    width_unconfirmed(efi32("iMac6,1", "iMac (24-inch, Late 2006)", (2006, 2006))),
    intel("iMac7,1", "iMac (20-inch and 24-inch, Mid 2007)", (2007, 2007), "10.11", OLD),
    intel("iMac8,1", "iMac (20-inch and 24-inch, Early 2008)", (2008, 2008), "10.11", OLD),
    intel("iMac9,1", "iMac (20-inch and 24-inch, Early and Mid 2009)", (2009, 2009), "10.11", IMAC),
    intel("iMac10,1", "iMac (21.5-inch and 27-inch, Late 2009)", (2009, 2009), "10.13", IMAC),
    intel("iMac11,1", "iMac (27-inch, Late 2009, quad-core)", (2009, 2009), "10.13", IMAC),
    intel("iMac11,2", "iMac (21.5-inch, Mid 2010)", (2010, 2010), "10.13", IMAC),
    intel("iMac11,3", "iMac (27-inch, Mid 2010)", (2010, 2010), "10.13", IMAC),
    intel("iMac12,1", "iMac (21.5-inch, Mid and Late 2011)", (2011, 2011), "10.13", IMAC),
    intel("iMac12,2", "iMac (27-inch, Mid 2011)", (2011, 2011), "10.13", IMAC),
    intel("iMac13,1", "iMac (21.5-inch, Late 2012)", (2012, 2012), "10.15", IMAC),
    intel("iMac13,2", "iMac (27-inch, Late 2012)", (2012, 2012), "10.15", IMAC),
    intel("iMac13,3", "iMac (21.5-inch, Early 2013, education)", (2013, 2013), "10.15", OLD),
    intel("iMac14,1", "iMac (21.5-inch, Late 2013)", (2013, 2013), "10.15", IMAC),
    intel("iMac14,2", "iMac (27-inch, Late 2013)", (2013, 2013), "10.15", IMAC),
    intel("iMac14,3", "iMac (21.5-inch, Late 2013, NVIDIA)", (2013, 2013), "10.15", IMAC),
    intel("iMac14,4", "iMac (21.5-inch, Mid 2014)", (2014, 2014), "11", IMAC),
    intel("iMac15,1", "iMac (Retina 5K, 27-inch, Late 2014 and Mid 2015)", (2014, 2015), "11", IMAC),
    intel("iMac16,1", "iMac (21.5-inch, Late 2015)", (2015, 2015), "12", IMAC),
    intel("iMac16,2", "iMac (21.5-inch, also Retina 4K, Late 2015)", (2015, 2015), "12", IMAC),
    intel("iMac17,1", "iMac (Retina 5K, 27-inch, Late 2015)", (2015, 2015), "12", IMAC),
    intel("iMac18,1", "iMac (21.5-inch, 2017)", (2017, 2017), "13", IMAC),
    intel("iMac18,2", "iMac (Retina 4K, 21.5-inch, 2017)", (2017, 2017), "13", IMAC),
    intel("iMac18,3", "iMac (Retina 5K, 27-inch, 2017)", (2017, 2017), "13", IMAC),
    intel("iMac19,1", "iMac (Retina 5K, 27-inch, 2019)", (2019, 2019), "15", IMAC),
    intel("iMac19,2", "iMac (Retina 4K, 21.5-inch, 2019)", (2019, 2019), "15", IMAC),
    t2("iMac20,1", "iMac (Retina 5K, 27-inch, 2020)", (2020, 2020), "26"),
    t2("iMac20,2", "iMac (Retina 5K, 27-inch, 2020, Radeon Pro 5700)", (2020, 2020), "26"),
    silicon("iMac21,1", "iMac (24-inch, M1, 2021, four ports)", 2021, IMAC),
    silicon("iMac21,2", "iMac (24-inch, M1, 2021, two ports)", 2021, IMAC),
    t2("iMacPro1,1", "iMac Pro (2017)", (2017, 2017), "15"),
];
