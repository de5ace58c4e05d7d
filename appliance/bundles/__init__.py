"""What a signed bundle is and which of them this device accepts: values in, values out, no IO and no clock.

``reasons`` why something is refused · ``release`` the signed list of files · ``policy`` what may be installed ·
``metadata`` rules beyond TUF's · ``clock`` time without a clock · ``state`` floors · ``layout``, ``tar`` names on
media · ``tuf7`` python-tuf's types · ``manifest`` what a model's manifest says ·
``golden`` what its network must answer ·
``network``, ``operators`` what a network file may hold.
"""
