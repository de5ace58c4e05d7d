"""Reports of a result: JUnit for machines, one HTML file for people. The signed JSON is ``hil.rig.result``'s own."""
