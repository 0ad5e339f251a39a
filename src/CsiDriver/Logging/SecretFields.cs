using System.Collections;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.Reflection;

namespace EphemeralFs.CsiDriver.Logging;

/// <summary>Which values of a message are secret, and a copy of the message without them. The one place that knows.</summary>
/// <remarks>
/// The CSI specification marks them by an option of its <c>.proto</c>; all fields so marked, and no others, are named <c>secrets</c>.
/// Kubernetes puts tokens of service accounts into the context of a volume besides (<c>CSIDriver.spec.tokenRequests</c>).
/// Fields that a newer client knows and this driver does not are in no copy either: they are not printed at all.
/// </remarks>
public static class SecretFields
{
    /// <summary>What stands in place of a secret, as in the other drivers' logs.</summary>
    public const string Stripped = "***stripped***";

    /// <summary>Name of a field that is secret in any message.</summary>
    public const string FieldName = "secrets";

    /// <summary>Beginning of the keys, in any map, whose values are secret.</summary>
    public const string TokenKeyPrefix = "csi.storage.k8s.io/serviceAccount.tokens";

    /// <summary>A copy with every secret value replaced; keys stay.</summary>
    /// <param name="message">Not changed.</param>
    /// <param name="found">The values that were replaced, to look for in other texts.</param>
    public static IMessage Strip(IMessage message, out IReadOnlyCollection<string> found)
    {
        var values = new HashSet<string>(StringComparer.Ordinal);
        var copy = message.Descriptor.Parser.WithDiscardUnknownFields(true).ParseFrom(message.ToByteArray());
        StripInPlace(copy, values);
        found = values;
        return copy;
    }

    private static void StripInPlace(IMessage message, HashSet<string> found)
    {
        foreach (var field in message.Descriptor.Fields.InFieldNumberOrder())
        {
            var value = field.Accessor.GetValue(message);
            if (value is null)
            {
                continue;
            }

            if (field.Name == FieldName)
            {
                StripField(message, field, value, found);
            }
            else if (value is MapField<string, string> map)
            {
                StripValues(map, found, static key => key.StartsWith(TokenKeyPrefix, StringComparison.Ordinal));
            }
            else if (field.FieldType == FieldType.Message)
            {
                StripInside(value, found);
            }
        }
    }

    private static void StripInside(object value, HashSet<string> found)
    {
        switch (value)
        {
            case IMessage message:
                StripInPlace(message, found);
                break;
            case IDictionary map:
                foreach (var message in map.Values.OfType<IMessage>())
                {
                    StripInPlace(message, found);
                }

                break;
            case IEnumerable list:
                foreach (var message in list.OfType<IMessage>())
                {
                    StripInPlace(message, found);
                }

                break;
        }
    }

    /// <summary>A field named so may be of any type: what is no text is left out whole.</summary>
    private static void StripField(IMessage message, FieldDescriptor field, object value, HashSet<string> found)
    {
        if (value is MapField<string, string> map)
        {
            StripValues(map, found, static _ => true);
        }
        else if (value is string text)
        {
            if (text.Length > 0)
            {
                found.Add(text);
                field.Accessor.SetValue(message, Stripped);
            }
        }
        else
        {
            field.Accessor.Clear(message);
        }
    }

    private static void StripValues(MapField<string, string> map, HashSet<string> found, Func<string, bool> isSecret)
    {
        foreach (var key in map.Keys.Where(isSecret).ToArray())
        {
            found.Add(map[key]);
            map[key] = Stripped;
        }
    }
}
