"""What people see of a study, whatever shows it: tables, sentences, and the renderers of both."""
