"""The distributed run: images and clicks in object storage to parts, and parts to exports."""
