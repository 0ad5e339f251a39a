namespace EphemeralFs.Core;

/// <summary>Names of volumes.</summary>
public static class VolumeName
{
    private const int MaxLength = 63;

    /// <summary>Whether a volume may be called so: 1 … 63 characters a-z 0-9 . _ - and no dot or dash in front.</summary>
    public static bool IsValid(string name) =>
        name.Length is > 0 and <= MaxLength
        && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '.' or '_' or '-')
        && name[0] is not '.' and not '-';
}
