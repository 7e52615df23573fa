"""KaoKore: can CLIP tell 化身 (incarnations) from 人 (people)?"""
