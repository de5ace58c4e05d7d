"""Luxembourgish, in the orthography of 2019, with common older spellings and spellings without diacritics.

The n of an ending falls away before most consonants (Eifeler Regel): both forms are listed, or made, everywhere.
"""

from __future__ import annotations

from typing import Final

from appliance.reading.words.model import Words

_LOW: Final = [
    "null",
    "eent",
    "zwee",
    "dräi",
    "véier",
    "fënnef",
    "sechs",
    "siwen",
    "aacht",
    "néng",
    "zéng",
    "eelef",
    "zwielef",
    "dräizéng",
    "véierzéng",
    "fofzéng",
    "siechzéng",
    "siwwenzéng",
    "uechtzéng",
    "nonzéng",
]
_TENS: Final = ["zwanzeg", "drësseg", "véierzeg", "fofzeg", "siechzeg", "siwwenzeg", "achtzeg", "nonzeg"]


def _numbers() -> dict[str, int]:
    known = {word: value for value, word in enumerate(_LOW)}
    known |= dict.fromkeys(("een", "ee", "eng", "engem", "enger", "en"), 1)
    known |= dict.fromkeys(("zwou", "zwéin", "zwéi", "zwéng"), 2)
    known |= {
        "siwwen": 7,
        "siwe": 7,
        "siwenzéng": 17,
        "nongzéng": 19,
        "véiere": 4,
        "fënnëf": 5,
        "eelf": 11,
        "zwielf": 12,
        "fënef": 5,
    }
    spelled = [*list(enumerate(_TENS, start=2)), (6, "sechzeg"), (7, "siwenzeg"), (9, "nongzeg"), (5, "foffzeg")]
    for tens, word in spelled:
        known[word] = 10 * tens
        for one in range(1, 10):
            units = {1: ("een", "eent"), 2: ("zwee", "zwou")}.get(one, (_LOW[one],))
            for unit in units:
                known |= {f"{unit}{link}{word}": 10 * tens + one for link in ("an", "a")}
                known |= {f"{unit} {link} {word}": 10 * tens + one for link in ("an", "a")}
    return known


LUXEMBOURGISH: Final = Words(
    language="lb",
    function="""
        dir,un,gesitt,hatt,ze,kann,kënnen,kënnt,kucken,läien,leeft,falls,ëmmer,vläicht,eppes,jo,neen,firwat,wou,wien,
        de,den,dem,dat,déi,dës,dëst,d',an,ass,sinn,war,waren,mat,vun,vum,zu,zum,bei,beim,net,nët,keen,keng,kee,kengem,
        en,eng,engem,enger,et,sech,op,aus,fir,no,iwwer,ënner,mir,ech,hien,si,huet,hunn,gouf,goufen,am,um,mee,oder,och,
        nach,näischt,zwee,zwou,dräi,véier,fënnef,siwen,aacht,néng,zéng,gesinn,gesi,fiert,nërdlech,südlech,ëstlech,
        westlech,ongeféier,puer,e,richtung,auer,zanter,zënter,virun,ouni,do,hei,wäiss,rout,gro,schwaarz,schwaarzen,
        bewegt,mellt,weder,keen,läit,steet,gëtt,kuerz,grouss,grousst,klengt,kleng,klengen,meter,minutten,bëssen,vill,
        eis,dass,keent,séimeilen,wéi,de,vir,hunn,fueren,gemellt,observéiert,bleift,elo,ronn,awer,ginn,schonn""",
    categories={
        "person": """
            persoun/persounen,/persoune,mann/männer,fra/fraen,/frae,kand/kanner,mënsch/mënschen,/mënsche,/leit,
            jong/jongen,meedchen/meedercher,zaldot/zaldoten,/zaldote,schwëmmer,daucher,foussgänger,
            passagéier/passagéieren,/passagéiere,flüchtling/flüchtlingen,/flüchtlinge,migrant/migranten,fëscher,
            blesséierten/blesséiert,blesséierter,iwwerliewenden/iwwerliewend,matrous/matrousen,zivilist/zivilisten,
            polizist/polizisten,aarbechter,chauffer/chaufferen,mann iwwer bord,soldat/soldaten,vëlosfuerer,
            spadséiergänger,crewmember/crewmembere,crewmembren,wanderer,jugendlechen/jugendlecher,
            besatzungsmember/besatzungsmemberen,fuerer,crewmember/crewmemberen,/besatzungsmembere""",
        "vehicle": "gefier/gefierer,/gefierer,trakter/trakteren,/trakteren",
        "vehicle/car": """
            auto/autoen,/autoe,jeep/jeepen,taxi/taxien,/taxie,limousin/limousinen,policeauto/policeautoen,
            geländewon/geländeween,won/ween""",
        "vehicle/truck": """
            camion/camionen,/camione,/camions,laaschtwon/laaschtween,lkw/lkwen,/lkws,sattelschlepper,tankwon/tankween,
            pompjeesauto/pompjeesautoen,pompjeeswon/pompjeesween""",
        "vehicle/bus": "bus/bussen,/busse,minibus/minibussen,schoulbus/schoulbussen",
        "vehicle/motorcycle": "moto/motoen,/motoe,motorrad/motorrieder,scooter/scooteren,moped/mopeden",
        "vehicle/bicycle": "vëlo/vëloen,/vëloe,/vëlos,fuerrad/fuerrieder",
        "vehicle/van": """
            camionnette/camionnetten,camionnett,/camionnettë,ambulanz/ambulanzen,/ambulanze,liwwerwon/liwwerween,
            kombi/kombien""",
        "vehicle/tracked": """
            panzer/panzeren,/panzere,panzerfahrzeug,kettegefier/kettegefierer,bagger/baggeren,kampfpanzer""",
        "vessel": """
            waassergefier/waassergefierer,u boot/u booter,péniche/pénichen,/péniche,schleekan/schleekän,laaschtkan,
            ponton/pontonen""",
        "vessel/ship": """
            schëff/schëffer,frachter,tanker,fähr/fähren,/fähre,fregatt/fregatten,/fregatte,ferry/ferryen,/ferrye,
            frachtschëff/frachtschëffer,kräizer,cargo/cargoen,zerstéierer,fligerdréier""",
        "vessel/boat": """
            boot/booter,jacht/jachten,yacht/yachten,schlepper,kutter,kanu/kanuen,kajak/kajaken,floss/flëss,
            segelboot/segelbooter,gummiboot/gummibooter,zodiac/zodiacen,rettungsinsel/rettungsinselen,jetski/jetskien,
            schluppboot,naachen""",
        "aircraft": """
            loftgefier/loftgefierer,segelfliger/segelfligeren,ballon/ballonen,loftschëff,
            heissloftballon/heissloftballonen""",
        "aircraft/aeroplane": "fliger/fligeren,/fligere,jet/jetten,kampfjet/kampfjetten,avion/avionen",
        "aircraft/helicopter": "helikopter/helikopteren,/helikoptere,hubschrauber,heli/helien",
        "aircraft/drone": "dron/dronen,/drone,drohn/drohnen,/drohne,quadrokopter",
        "animal": """
            déier/déieren,/déiere,hond/hënn,päerd,kou/kéi,schof/schof,réi,wëllschwäin/wëllschwäi,wëllschwéng,
            vull/villercher,/vigel,kaz/kazen,/kaze,wollef/wëllef,fuuss/fiiss,schwäin/schwäi,geess/geessen,wal/walen,
            delfin/delfinen,/delfine,robb/robben,schwan/schwanen,/véi,fuuss,hirsch/hirschen,/hirsche""",
        "fire": "feier,brand/bränn,/flamen,/flame,bëschbrand/bëschbränn",
        "unknown": """
            onbekannten objet/onbekannten objeten,onbekannt objet/onbekannt objeten,
            onbekannten objekt/onbekannt objekter,onbekannte kontakt/onbekannt kontakter,onbekannten kontakt,ufo/ufoen,
            onbekannt objekt,radarkontakt/radarkontakter""",
    },
    heads={
        "vessel/boat": "boot/booter,kutter,jacht/jachten",
        "vessel/ship": "schëff/schëffer,fähr/fähren,frachter,tanker",
        "aircraft/helicopter": "helikopter/helikopteren,hubschrauber",
        "aircraft/aeroplane": "fliger/fligeren",
        "aircraft/drone": "dron/dronen,drohn/drohnen",
        "vehicle/tracked": "panzer/panzeren",
        "vehicle": "gefier/gefierer",
        "vehicle/truck": "camion/camionen",
        "vehicle/bus": "bus/bussen",
        "vehicle/car": "auto/autoen",
        "person": "zaldot/zaldoten,persoun/persounen,leit",
        "animal": "hond/hënn",
        "fire": "brand/bränn",
    },
    stops="""
        raumschëff,liichtfeier,ënner feier,feierowend,autobunn,busarrêt,feierwierk,feier opgemaach,d' feier opgemaach,
        airbus,boothaus,fligerhafen,autosfuerer,um feier""",
    only_here="""
        boot,booter,mann,auto,bus,brand,won,ween,moto,jong,kaz,kand,fra,frae,jongen,leit,wal,jet,robb,véi,fuerer,
        avion,cargo,réi""",
    doubtful="damp,rauch,qualm,dampwollek,rauchsail,rauchwollek",
    numbers=_numbers(),
    hundred="honnert",
    thousand="dausend",
    number_joiner="an",
    quantities={
        "e puer": (3, 0.6),
        "en etlech": (3, 0.6),
        "etlech": (4, 0.6),
        "e puer vun": (3, 0.6),
        "puer": (3, 0.6),
        "verschidden": (2, 0.6),
        "verschidde": (2, 0.6),
        "méi": (2, 0.5),
        "méi wéi een": (2, 0.6),
        "e koppel": (2, 0.8),
        "vill": (5, 0.5),
        "villen": (5, 0.5),
        "e puer honnert": (300, 0.5),
        "eng dosen": (12, 0.9),
        "eng dozen": (12, 0.9),
        "eng dose": (12, 0.9),
        "eng dutzend": (12, 0.9),
        "en dutzend": (12, 0.9),
        "eng hallef dosen": (6, 0.9),
        "eng hallef dose": (6, 0.9),
        "eng hallef dutzend": (6, 0.9),
        "eng grupp": (3, 0.6),
        "eng grupp vun": (3, 0.6),
        "grupp vun": (3, 0.6),
        "enger grupp vun": (3, 0.6),
        "eng kolonn": (3, 0.6),
        "eng kolonn vun": (3, 0.6),
        "e konvoi vun": (3, 0.6),
        "konvoi vun": (3, 0.6),
        "eng hänn voll": (4, 0.6),
        "béid": (2, 0.9),
        "déi béid": (2, 0.9),
        "eenzelnen": (1, 1.0),
        "eenzel": (1, 0.9),
        "een eenzegt": (1, 1.0),
        "een eenzegen": (1, 1.0),
        "eng eenzeg": (1, 1.0),
        "dosende vun": (24, 0.5),
        "honnerte vun": (200, 0.5),
        "eng trëpp": (3, 0.6),
        "eng trëppel": (3, 0.6),
        "eng häerd": (3, 0.6),
    },
    multipliers={"dosen": 12, "dutzend": 12},
    approximate="""
        ongeféier,ëm déi,ronn,bal,circa,ca,op d'mannst,méi wéi,knapps,eppes iwwer,mindestens,iwwer,op d' mannst,
        geschate""",
    at_most="bis zu,héchstens,maximal,net méi wéi",
    indefinite="e,en,een,ee,eng,engem,enger,weideren,weidert,weider,aneren,anert",
    definite="de,den,dem,der,d',dat,déi,dës,dëse,dësen,dëst,säin,seng,hir,hiert,dee,deen,vum,zum,beim,am,um,datselwecht",
    blockers="""
        vun,vum,zu,zum,bei,beim,an,am,um,op,aus,mat,ouni,fir,no,vir,virun,iwwer,ënner,niewent,ass,sinn,war,waren,huet,
        hunn,gëtt,gouf,goufen,et,hien,si,mir,ech,sech,net,oder,mee,wann,wéi,dass,do,hei,richtung,gesinn,gesi,gesichtet,
        fiert,fueren,nërdlech,südlech,ëstlech,westlech,km,m,meter,séimeilen,auer,minutten,stonnen,läit,steet,leien,
        stinn,géint,bis,duerch""",
    joiners="an,oder,nach,a,souwéi",
    breaks="mee,awer,wärend,während,obwuel,ausser,dogéint,mä",
    no_noun="""
        keen,kee,keng,kengem,kenger,weder,ouni,null,keen eenzegt,keen eenzegen,kee eenzegt,keng eenzeg,keng weider,
        keng spuer vun,keng spuer vum,keng spuer vun engem,keng spuer vun der,net een,net eng,net ee,keng weider,
        nach keng,keng aner,kengerlee,keen aneren,keen anert,fräi vun,keng spuer vu""",
    no_verb="net,nët,ni,nimools,nimmi,nimmer,net méi,guer net",
    nobody="niemand,keen mënsch,kee mënsch,keen een,keen",
    nothing="""
        näischt,näischt gesinn,näischt ze gesinn,näischt ze mellen,keng kontakter,keng beweegung,kee kontakt,
        keng beweegungen,näischt gesichtet,keng aktivitéit""",
    seen="""
        gesinn,gesi,gesäit,gesouch,gesichtet,siichtbar,observéiert,observéieren,do,entdeckt,fonnt,present,vis,
        op der plaz,detektéiert,gemellt,hei,erkennen,erkannt,fannen,dobäi,an siicht,a siicht,uwiesend,ze gesinn,gëtt,
        gemierkt,gespottt""",
    not_negation="""
        ouni zweiwel,keen zweiwel,net manner wéi,net méi wéi,net nëmmen,näischt wéi,net wäit,näischt anescht wéi,
        kee problem,kee wonner,net sécher,keng ahnung,kee zweiwel,net ausgeschloss""",
    asked="""
        sicht,sicht nach,
        brauchen,brauch,braucht,schéckt,schécken,ufroen,froen,ugefrot,sichen,sicht no,waarden op,waarden,muer,markéiert,
        markéieren,ignoréiert,ignoréieren,erwaarden,läscht,wgl,wannechgelift,bieden,ufuerderen,ugefuerdert,fuerderen""",
    wanted="""
        gebraucht,néideg,ugefuerdert,ugefrot,gëtt gebraucht,gëtt ugefuerdert,erwaart,wgl,wannechgelift,gi gebraucht""",
    conditional="wann,falls,wannst",
    hedges="""
        vläicht,eventuell,méiglecherweis,méiglechen,méiglecht,méigleche,wahrscheinlech,anscheinend,kéint,kéinten,
        schéngt,schéngen,onbestätegt,vermutlech,verdächteg,mengen,menge,evtl,net sécher,ugeblech,schéngbar,
        gesäit aus wéi,onsécher,wuel,dierft,dierften,viraussiichtlech""",
    units_m={
        "m": 1.0,
        "meter": 1.0,
        "km": 1000.0,
        "kilometer": 1000.0,
        "sm": 1852.0,
        "nm": 1852.0,
        "séimeil": 1852.0,
        "séimeilen": 1852.0,
        "séimeile": 1852.0,
        "nautesch meilen": 1852.0,
        "nautesch meil": 1852.0,
        "mieter": 1.0,
    },
    half="eng hallef,enger hallwer,en hallwe,engem hallwe,en hallwen,engem hallwen",
    compass={
        "nërdlech": 0.0,
        "nordëstlech": 45.0,
        "nordostlech": 45.0,
        "ëstlech": 90.0,
        "südëstlech": 135.0,
        "südostlech": 135.0,
        "südlech": 180.0,
        "südwestlech": 225.0,
        "westlech": 270.0,
        "nordwestlech": 315.0,
        "norden": 0.0,
        "nordosten": 45.0,
        "osten": 90.0,
        "südosten": 135.0,
        "süden": 180.0,
        "südwesten": 225.0,
        "westen": 270.0,
        "nordwesten": 315.0,
        "nord": 0.0,
        "nordost": 45.0,
        "ost": 90.0,
        "südost": 135.0,
        "süd": 180.0,
        "südwest": 225.0,
        "west": 270.0,
        "nordwest": 315.0,
    },
    to_the="am,no,genee,a richtung,an",
    of="vun,vum,vun der,vun dem,vu,vun de,vun den",
    here="mir,eis,menger positioun,eiser positioun,hei,mengem standuert,eisem standuert,eisem posten,eise posten",
    at="""
        bei,zu,an,am,op,um,positioun,op der positioun,op positioun,pos,beim,iwwer,an der,op der,bei der,position,
        standuert,op dem""",
    near="""
        no bei,an der géigend vun,niewent,no beim,an der géigend,an der ëmgéigend vun,net wäit vun,ronderëm,nieft,
        no bei der""",
    off="virun,vir,virun der,virum,virun dem",
    towards="richtung,a richtung,op de wee no,vun,aus,mat zil,no,um wee op,a richtung vun,kurs op,um wee no,zil",
    bearing="peilung,azimut,an der peilung",
    distance="distanz,entfernung,ofstand,an enger distanz vun",
    units_s={
        "s": 1,
        "sek": 1,
        "sekonn": 1,
        "sekonnen": 1,
        "min": 60,
        "minutt": 60,
        "minutten": 60,
        "minutte": 60,
        "h": 3600,
        "stonn": 3600,
        "stonnen": 3600,
        "stonne": 3600,
        "dag": 86400,
        "deeg": 86400,
    },
    ago=("virun,viru", ""),
    moments={
        "elo": 0,
        "momentan": 0,
        "den ament": 0,
        "elo grad": 0,
        "grad elo": 0,
        "elo just": 0,
        "virun enger hallwer stonn": 1800,
        "virun enger hallefer stonn": 1800,
        "viru enger hallwer stonn": 1800,
        "virun enger véierelsstonn": 900,
        "virun e puer minutten": 180,
        "viru puer minutten": 180,
        "virun enger stonn": 3600,
        "virun annerhallwer stonn": 5400,
        "gëschter": 86400,
    },
    day_before="gëschter,gëschter owend,gëschter nomëtteg,gëschter moien",
    clock="h,auer",
    afternoon="mëttes,nomëttes,owes,am nomëtteg,haut nomëtteg,haut owend",
    not_yet="eta,etd,bis,vun,viraussiichtlech,arrivée,depart,ab,spéitstens,erwaart,ukomm,viraussiichtlech um",
    local_time="lokalzäit,uertszäit",
    called="mam numm,genannt,numm,nimmt sech,mam schëffsnumm",
)
