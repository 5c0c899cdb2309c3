"""`python -m bench.several_drivers [PART ...]`: several drivers on one study, on a real PostgreSQL and MLflow's server.

`kills`: three drivers on 60 trials that sleep; one is killed each four seconds, both servers are restarted once.
`takeover`: how soon a waiting driver has the trial of one that is killed, or whose link is cut (as root).
`outage`: MLflow's server is gone for a minute amid a trial.
`growth`: what the study database takes of a trial when there are 3,000 of them.
`tracking`: what a driver's look for 400 runs on MLflow's server takes.
"""
