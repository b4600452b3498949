"""What a thousand parts hold in one small object, and counting a run from these."""
