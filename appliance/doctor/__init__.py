"""The doctor: is there a way out of this box, and is what it rests on sound? One finding for each question.

It looks and tells; it changes nothing and opens no connection. Rooms below do the looking; ``network`` and ``unit``
judge. A question that could not be answered is ``unknown``, never good.
"""

from appliance.doctor.examine import examine
from appliance.doctor.finding import Finding, Verdict, worst

__all__ = ["Finding", "Verdict", "examine", "worst"]
